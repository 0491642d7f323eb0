//! One question to the agent over its Unix socket: one JSON line there, one back, within a limit.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{CniError, Code};

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;
/// Pause between two attempts to reach an agent that is away.
const RETRY: Duration = Duration::from_millis(250);

/// What the agent is asked.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// `add`, `del` or `check`.
    pub op: &'static str,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod UID, may be empty.
    pub uid: String,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
}

/// What the agent answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Whether the operation was done.
    pub ok: bool,
    /// Whether the pod is in the mesh now.
    #[serde(default)]
    pub enrolled: bool,
    /// Why not.
    #[serde(default)]
    pub error: Option<String>,
}

/// Asks the agent and waits at most `limit`, an agent that is being restarted included.
pub fn ask(socket: &Path, request: &Request, limit: Duration) -> Result<Answer, CniError> {
    let deadline = Instant::now() + limit;
    let (socket, line) = (socket.to_owned(), encode(request)?);
    let name = socket.display().to_string();
    let (tx, rx) = mpsc::sync_channel(1);
    // connect(2) on a Unix socket has no time limit of its own; the process ends soon after, and this thread with it.
    std::thread::spawn(move || tx.send(exchange(&socket, &line, deadline)));
    let answer = rx
        .recv_timeout(limit + RETRY)
        .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
    let text = answer.map_err(|why| {
        let msg = format!(
            "the Warren agent at {name} cannot be asked; is warren-agent running on this node?"
        );
        CniError::new(Code::TryAgain, msg).with_details(why)
    })?;
    serde_json::from_str(&text).map_err(|e| {
        CniError::new(
            Code::Agent,
            format!("the agent at {name} gave an answer that is not valid: {e}"),
        )
    })
}

/// Whether somebody listens at `socket`; waits at most `limit`, as an agent that hangs may have a full queue.
pub fn listens(socket: &Path, limit: Duration) -> Result<(), String> {
    let path = socket.to_owned();
    let (tx, rx) = mpsc::sync_channel(1);
    std::thread::spawn(move || tx.send(UnixStream::connect(path).map(drop)));
    match rx.recv_timeout(limit) {
        Ok(connected) => connected.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no connection within {limit:?}")),
    }
}

fn encode(request: &Request) -> Result<String, CniError> {
    let line = serde_json::to_string(request).map_err(|e| CniError::decode(e.to_string()))?;
    Ok(line + "\n")
}

fn exchange(socket: &PathBuf, line: &str, deadline: Instant) -> Result<String, String> {
    loop {
        let error = match attempt(socket, line, deadline) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if Instant::now() + RETRY >= deadline {
            return Err(error.to_string());
        }
        std::thread::sleep(RETRY);
    }
}

fn attempt(socket: &PathBuf, line: &str, deadline: Instant) -> std::io::Result<String> {
    let left = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1));
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(std::io::Error::other(
            "the agent closed the connection without an answer",
        ));
    }
    Ok(answer)
}
