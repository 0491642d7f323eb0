//! The CNI plugin of Warren: tells the node's agent which pod comes and goes, and passes the result of the plugin before it on.
//! Chained after the plugin that gives the pod its addresses; it changes nothing in the pod by itself.
//!
//! ```text
//! container runtime --CNI_* and JSON on stdin--> run --one JSON line--> RUN/cni.sock (agent)
//!                   <--prevResult or error------      <--one JSON line--
//! ```
#![forbid(unsafe_code)]

pub mod agent;
pub mod command;
pub mod config;
pub mod env;
pub mod error;

use std::io::Read;

use crate::error::CniError;

/// Longest configuration that is read from stdin, in bytes.
pub const MAX_CONFIG: u64 = 1024 * 1024;

/// Runs one CNI command: reads at most [`MAX_CONFIG`] bytes of `stdin` and looks variables up by `var`.
/// Returns what has to be written to stdout; an error carries the CNI version to answer with.
pub fn run(var: impl Fn(&str) -> Option<String>, stdin: impl Read) -> Result<String, CniError> {
    let mut text = String::new();
    let read = stdin.take(MAX_CONFIG).read_to_string(&mut text);
    let command = env::Command::from_env(&var)?;
    match (command, read) {
        // The runtime must be able to let a pod go whatever state this node is in.
        (env::Command::Del, Err(_)) => Ok(String::new()),
        (_, Err(e)) => Err(CniError::decode(format!(
            "the configuration on stdin cannot be read: {e}"
        ))),
        (command, Ok(_)) => command::execute(command, &var, &text),
    }
}
