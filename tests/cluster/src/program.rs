//! Running other programs to their end.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::interrupt;

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// It cannot be started, or fails: the message carries what it wrote to its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {}: is it installed?", shown(command)))?;
    checked(&shown(command), &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with `input` on its standard input.
///
/// # Errors
/// As [`output`].
pub fn feed(command: &mut Command, input: &str) -> Result<String> {
    let what = shown(command);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("start {what}: is it installed?"))?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    // A program that refuses its first line may close its end early; its message says why.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    checked(&what, &output)?;
    written.with_context(|| format!("write to {what}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a long command whose output the user sees. Ctrl-C ends it, and so does the limit.
///
/// # Errors
/// It cannot be started, fails, or takes too long.
pub fn long(command: &mut Command, limit: Duration) -> Result<()> {
    let what = shown(command);
    let end = Instant::now() + limit;
    let mut child = command
        .spawn()
        .with_context(|| format!("start {what}: is it installed?"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{what} ended with {status}");
            }
            return Ok(());
        }
        if interrupt::came() || Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            interrupt::check()?;
            bail!("{what}: not done within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn checked(what: &str, output: &Output) -> Result<()> {
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{what} ended with {}: {}", output.status, text.trim());
    }
    Ok(())
}
