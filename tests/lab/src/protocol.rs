//! What the lab's commands and its daemon say to each other: one JSON line each way over a Unix socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::Leftover;

/// A request to the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Create or change objects.
    Apply {
        /// Checked objects, see [`crate::manifest::Manifests`].
        objects: Vec<Value>,
        /// What else the files hold, for the controller to report.
        leftovers: Vec<Leftover>,
    },
    /// Delete objects; waits until their pods are gone.
    Delete {
        /// Objects, of which only kind, namespace and name count.
        objects: Vec<Value>,
        /// Files of which nothing is reported any longer.
        files: Vec<String>,
        /// Kill without a grace period.
        now: bool,
    },
    /// Change labels of an object; `null` removes one.
    Label {
        /// Kind, as in a manifest or in lower case.
        kind: String,
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Labels.
        labels: serde_json::Map<String, Value>,
    },
    /// Wait until every pod is ready and every component is up.
    Wait {
        /// Seconds.
        seconds: u64,
    },
    /// List pods and components.
    Ps,
    /// How to enter a pod.
    Enter {
        /// Namespace.
        namespace: String,
        /// Pod, or the name of its owner.
        pod: String,
        /// Container, the first when not given.
        container: Option<String>,
    },
    /// Stop, start or restart a component.
    Component {
        /// `restart`, `stop` or `start`.
        action: String,
        /// `agent`, `ztunnel` or `control`.
        component: String,
        /// Node; every node when not given.
        node: Option<String>,
        /// SIGKILL instead of SIGTERM.
        kill: bool,
    },
    /// Restart the pods of waypoints.
    Waypoints {
        /// Node; every node when not given.
        node: Option<String>,
        /// SIGKILL instead of SIGTERM.
        kill: bool,
    },
    /// End the daemon.
    Quit,
}

impl Request {
    /// How long the daemon may take to answer.
    fn limit(&self) -> Duration {
        match self {
            Self::Wait { seconds } => Duration::from_secs(seconds + 10),
            Self::Quit => Duration::from_secs(2),
            _ => Duration::from_secs(90),
        }
    }
}

/// How a line of an answer begins that tells of an object that was refused.
pub const REFUSED: &str = "error: ";

/// The lines of an answer that is a list of lines.
pub fn lines(answer: &Value) -> impl Iterator<Item = &str> {
    let all = answer.as_array().into_iter().flatten();
    all.filter_map(Value::as_str)
}

/// The lines that tell of refused objects.
pub fn refusals(answer: &Value) -> impl Iterator<Item = &str> {
    lines(answer).filter_map(|l| l.strip_prefix(REFUSED))
}

/// The daemon's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Why it did not work.
    pub error: Option<String>,
    /// What was asked for.
    pub data: Value,
}

/// Sends a request to the daemon behind `socket` and waits for the answer.
pub fn call(socket: &Path, request: &Request) -> Result<Value> {
    let stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no daemon answers at {}: `lab down` cleans up after one that died",
            socket.display()
        )
    })?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    (&stream)
        .write_all(line.as_bytes())
        .context("cannot talk to the daemon")?;
    stream.set_read_timeout(Some(request.limit()))?;
    let mut answer = String::new();
    BufReader::new(&stream)
        .read_line(&mut answer)
        .context("the daemon did not answer in time: is it stuck? `lab down` ends it")?;
    if answer.is_empty() {
        bail!("the daemon ended without an answer");
    }
    let reply: Reply = serde_json::from_str(&answer).context("the daemon answered nonsense")?;
    match reply.error {
        Some(error) => bail!(error),
        None => Ok(reply.data),
    }
}
