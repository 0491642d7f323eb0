//! Waiting with a limit; who gives up shows what the awaited wrote.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};

use crate::interrupt;

const PAUSE: Duration = Duration::from_millis(100);
const LINES: usize = 15;

/// An error of a question after which waiting is in vain.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Asks until the answer is yes. An error of the question counts as "not yet", unless it is [`Hopeless`], and is told in the end.
///
/// # Errors
/// The limit has passed; the message carries the last lines of `logs`.
pub fn until(
    what: &str,
    limit: Duration,
    logs: &[PathBuf],
    mut question: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        interrupt::check()?;
        let answer = question();
        if let Ok(true) = answer {
            return Ok(());
        }
        let hopeless = answer.as_ref().is_err_and(|error| error.is::<Hopeless>());
        if hopeless || Instant::now() > end {
            bail!(report(what, limit, answer.err(), logs));
        }
        sleep(PAUSE);
    }
}

fn report(what: &str, limit: Duration, error: Option<Error>, logs: &[PathBuf]) -> String {
    let mut text = match error {
        Some(error) if error.is::<Hopeless>() => format!("{what}: {error}"),
        Some(error) => format!(
            "{what}: not within {} s; at last: {error:#}",
            limit.as_secs()
        ),
        None => format!("{what}: not within {} s", limit.as_secs()),
    };
    for log in logs {
        let _ = write!(text, "\n{}", tail(log));
    }
    text
}

/// The last lines of a log under its name.
pub fn tail(log: &Path) -> String {
    let text = end_of(log).unwrap_or_else(|error| format!("cannot be read: {error}"));
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = format!("==> {}", log.display());
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        let _ = write!(shown, "\n    {line}");
    }
    shown
}

/// Logs grow to any size; the last few KiB hold the lines that are shown.
fn end_of(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(16 << 10)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hopeless_is_not_waited_for() {
        let began = Instant::now();
        let dead = || Err(Hopeless("the machine is off".to_owned()).into());
        let error = until("etcd", Duration::from_secs(60), &[], dead).unwrap_err();
        assert_eq!(error.to_string(), "etcd: the machine is off");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn giving_up_shows_why() {
        let log = std::env::temp_dir().join(format!("warren-wait-{}", std::process::id()));
        std::fs::write(&log, "early\n".repeat(40) + "bind: address in use\n").unwrap();
        let limit = Duration::from_millis(1);
        let never = || bail!("connection refused");
        let error = until("etcd", limit, std::slice::from_ref(&log), never).unwrap_err();
        std::fs::remove_file(&log).unwrap();
        let text = format!("{error:#}");
        assert!(text.contains("etcd: not within"), "{text}");
        assert!(text.contains("connection refused"), "{text}");
        assert!(text.ends_with("bind: address in use"), "{text}");
        assert_eq!(text.matches("early").count(), LINES - 1);
    }
}
