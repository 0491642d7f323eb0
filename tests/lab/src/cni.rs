//! The agent's CNI socket, as the CNI plugin of a real node uses it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// How long the agent may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a runtime asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A pod comes.
    Add,
    /// A pod goes.
    Del,
}

impl Verb {
    /// The word on the socket.
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "del",
        }
    }
}

/// The agent's answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    /// Whether it is done.
    pub ok: bool,
    /// Whether the pod is in the mesh.
    #[serde(default)]
    pub enrolled: bool,
    /// Why it is not done.
    #[serde(default)]
    pub error: Option<String>,
}

/// One request and its answer.
pub fn call(socket: &Path, request: &Value) -> Result<Answer> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("nobody listens at {}", socket.display()))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream
        .write_all(format!("{request}\n").as_bytes())
        .context("cannot send")?;
    let mut line = String::new();
    BufReader::new(stream.take(1 << 20))
        .read_line(&mut line)
        .context("no answer")?;
    let answer: Answer =
        serde_json::from_str(&line).with_context(|| format!("not an answer: {line:?}"))?;
    if !answer.ok {
        bail!(
            "refused: {}",
            answer.error.as_deref().unwrap_or("no reason given")
        );
    }
    Ok(answer)
}
