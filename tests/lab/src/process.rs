//! Small helpers around child processes.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` with `input` on its standard input; an error carries what it printed.
pub fn feed(mut command: Command, input: &[u8]) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {name}: is it installed?"))?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    // A tool that refuses its first line may close its end early; its message says why.
    let written = stdin.write_all(input);
    drop(stdin);
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {name}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, text.trim());
    }
    written.with_context(|| format!("cannot write to {name}"))
}

/// Fails with one line unless the caller is root.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("the lab makes network namespaces and loads eBPF programs: run it as root")
}
