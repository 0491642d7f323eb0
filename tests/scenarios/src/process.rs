//! Child processes with a limit on every wait; whatever is started here ends with the runner.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Limit of a command that says nothing else.
pub const LIMIT: Duration = Duration::from_secs(30);

static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    /// The command line.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Done {
    /// Standard output of a command that must have succeeded.
    pub fn ok(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        bail!("{self}")
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, err) = (tail(&self.stdout), tail(&self.stderr));
        write!(
            f,
            "`{}`: {}; stdout {out:?}; stderr {err:?}",
            self.command, self.status
        )
    }
}

/// Runs a command in a process group of its own; past the limit the group is killed and this is an error.
pub fn run(command: Command, limit: Duration) -> Result<Done> {
    let mut running = Running::start(command)?;
    let status = running.wait(limit)?;
    Ok(Done {
        command: running.text.clone(),
        status,
        stdout: running.rest(),
        stderr: running.stderr(),
    })
}

/// A command at work; dropped, its process group is killed.
#[derive(Debug)]
pub struct Running {
    text: String,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    ended: Option<ExitStatus>,
    end_by: Option<Command>,
}

impl Running {
    /// Starts it without input.
    pub fn start(mut command: Command) -> Result<Self> {
        let text = describe(&command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start `{text}`: is it installed?"))?;
        groups().insert(child.id() as i32);
        let stdout = child.stdout.take().context("no standard output")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let (to, lines) = channel();
        std::thread::spawn(move || read_lines(stdout, |line| to.send(line).is_ok()));
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Self {
            text,
            child,
            lines,
            errors: Some(errors),
            ended: None,
            end_by: None,
        })
    }

    /// It is not killed by its process group alone, but by this command as well.
    pub fn ended_by(mut self, command: Command) -> Self {
        self.end_by = Some(command);
        self
    }

    /// The next line of its standard output.
    pub fn line(&mut self, limit: Duration) -> Result<String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("`{}` printed nothing within {limit:?}", self.text)
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.wait(Duration::from_secs(2))?;
                let stderr = self.stderr();
                bail!(
                    "`{}` ended ({status}) too early: {:?}",
                    self.text,
                    tail(&stderr)
                )
            }
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                self.kill();
                let (out, err) = (self.rest(), self.stderr());
                bail!(
                    "`{}` did not end within {limit:?}; stdout {:?}; stderr {:?}",
                    self.text,
                    tail(&out),
                    tail(&err)
                );
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Whether it is still at work.
    pub fn is_running(&mut self) -> bool {
        matches!(self.status(), Ok(None))
    }

    /// Asks it to end (SIGTERM), then waits.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::SIGTERM);
        self.wait(limit).map(drop)
    }

    /// Kills the whole process group.
    pub fn kill(&mut self) {
        if matches!(self.status(), Ok(None)) {
            if let Some(mut command) = self.end_by.take() {
                // It may have ended just now.
                let _ = command.output();
            }
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
        groups().remove(&(self.child.id() as i32));
    }

    /// Its remaining standard output, once it ended.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(2)) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .with_context(|| format!("cannot wait for `{}`", self.text))?;
        }
        Ok(self.ended)
    }

    fn stderr(&mut self) -> String {
        // A descendant that left the group could hold the pipe open for ever.
        let end = Instant::now() + Duration::from_secs(2);
        while self.errors.as_ref().is_some_and(|e| !e.is_finished()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        match self.errors.take() {
            Some(thread) if thread.is_finished() => thread.join().unwrap_or_default(),
            _ => String::new(),
        }
    }

    fn signal(&self, signal: Signal) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills every process group that is still at work.
pub fn kill_all() {
    for group in std::mem::take(&mut *groups()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Whether a program is on the `PATH`.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn groups() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_lines(from: impl Read, mut take: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(from);
    let mut bytes = Vec::new();
    while matches!(reader.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
        let line = String::from_utf8_lossy(&bytes)
            .trim_end_matches('\n')
            .to_owned();
        bytes.clear();
        if !take(line) {
            return;
        }
    }
}

fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

fn tail(text: &str) -> &str {
    let text = text.trim();
    let mut start = text.len().saturating_sub(700);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_status_are_kept() {
        let done = run(shell("echo out; echo err >&2; exit 3"), LIMIT).unwrap();
        assert_eq!(
            (
                done.stdout.as_str(),
                done.stderr.as_str(),
                done.status.code()
            ),
            ("out\n", "err\n", Some(3))
        );
        assert!(
            done.ok()
                .unwrap_err()
                .to_string()
                .contains("exit status: 3")
        );
    }

    #[test]
    fn past_the_limit_the_group_is_killed() {
        let begin = Instant::now();
        let error = run(shell("sleep 60 & sleep 60"), Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn lines_come_while_it_runs() {
        let mut running = Running::start(shell("echo one; sleep 60")).unwrap();
        assert_eq!(running.line(LIMIT).unwrap(), "one");
        assert!(running.is_running());
        running.stop(LIMIT).unwrap();
        assert!(!running.is_running());
    }
}
