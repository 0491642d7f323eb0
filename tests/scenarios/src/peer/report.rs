//! What `warren-peer` prints; the scenarios read the same types.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// The line that `serve` and `stream` print once they are at work.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Ready {
    /// True; another line, such as a report of failure, has no such field.
    #[serde(default)]
    pub ready: bool,
    /// The ports that `serve` listens on, in the order asked for.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// What `getsockname()` of a `stream` returned.
    #[serde(default)]
    pub local: Option<SocketAddr>,
}

/// The addresses that a server sees of one connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Greeting {
    /// What `accept()` returned.
    pub accept: SocketAddr,
    /// What `getpeername()` returns.
    pub peer: SocketAddr,
    /// What `getsockname()` returns.
    pub local: SocketAddr,
}

/// One connection as its server remembers it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Connection {
    /// The port's mode.
    pub mode: String,
    /// Addresses.
    #[serde(flatten)]
    pub seen: Greeting,
    /// Bytes that came.
    pub received: u64,
    /// Their checksum.
    pub sum: u64,
    /// How it ended where it was not the end of the stream.
    pub error: Option<String>,
}

/// Result of one connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    /// Everything held.
    pub ok: bool,
    /// The address asked for.
    pub asked: Option<SocketAddr>,
    /// What `getsockname()` returned after connecting.
    pub local: Option<SocketAddr>,
    /// What `getpeername()` returned after connecting.
    pub peer: Option<SocketAddr>,
    /// Whether a non-blocking connect said EINPROGRESS.
    pub in_progress: bool,
    /// Time that connecting took, in microseconds.
    pub connect_us: u64,
    /// Time of everything, in milliseconds.
    pub total_ms: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// What a server in `greet` mode said.
    pub greeting: Option<Greeting>,
    /// Where it failed: `resolve`, `socket`, `connect`, `send`, `receive`, `verify`.
    pub stage: Option<String>,
    /// Name of the error number, such as `ECONNREFUSED`.
    pub errno: Option<String>,
    /// The failure in words.
    pub error: Option<String>,
}

/// A step that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) stage: &'static str,
    pub(crate) error: io::Error,
}

impl Failure {
    /// For `map_err`.
    pub(crate) fn at(stage: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self { stage, error }
    }

    /// A check of ours that did not hold.
    pub(crate) fn verify(message: impl Into<String>) -> Self {
        Self {
            stage: "verify",
            error: io::Error::other(message.into()),
        }
    }

    /// The error number's name.
    pub(crate) fn errno(&self) -> Option<String> {
        self.error
            .raw_os_error()
            .map(|raw| format!("{:?}", Errno::from_raw(raw)))
    }

    /// Short text that counts can be kept by.
    pub(crate) fn kind(&self) -> String {
        let what = self.errno().unwrap_or_else(|| self.error.to_string());
        format!("{}: {what}", self.stage)
    }
}

impl Outcome {
    /// Enters a failure.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        self.ok = false;
        self.stage = Some(failure.stage.into());
        self.errno = failure.errno();
        self.error = Some(failure.error.to_string());
    }
}

/// Result of a busy connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StreamReport {
    /// No connection was lost and every message came back in order.
    pub ok: bool,
    /// Messages that came back.
    pub messages: u64,
    /// Longest time without an answer, in milliseconds.
    pub max_gap_ms: u64,
    /// Connections made.
    pub connections: u64,
    /// Time of the first loss after the start, in milliseconds.
    pub first_loss_ms: Option<u64>,
    /// What went wrong, in order, the first 20.
    pub failures: Vec<String>,
}

/// Result of holding idle connections.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct IdleReport {
    /// Every one was made and still worked at the end.
    pub ok: bool,
    /// Connections made.
    pub opened: usize,
    /// Connections that still echoed after the wait.
    pub alive: usize,
    /// The first failure.
    pub error: Option<String>,
}

/// Result of connecting and leaving.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LeaveReport {
    /// Every connect succeeded.
    pub ok: bool,
    /// Connections made.
    pub connected: usize,
    /// The first failure.
    pub error: Option<String>,
}

/// Result of a load.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LoadReport {
    /// Requests answered.
    pub done: u64,
    /// Requests failed.
    pub failed: u64,
    /// Requests answered a second.
    pub rate: f64,
    /// Median time of a request (with its connect where `fresh`), in microseconds.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Failures by kind.
    pub failures: BTreeMap<String, u64>,
}

/// Which servers answered.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SpreadReport {
    /// Every connection was answered.
    pub ok: bool,
    /// Connections by the server's own address.
    pub servers: BTreeMap<IpAddr, u64>,
    /// The first failure.
    pub error: Option<String>,
}
