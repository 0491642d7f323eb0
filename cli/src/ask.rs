//! Asking several processes at once.

use std::io::ErrorKind;

use serde::de::DeserializeOwned;
use warren_admin::{Client, ClientError};

use crate::Error;
use crate::place::{Place, Process};

/// One process's answer.
#[derive(Debug)]
pub struct Answer<T> {
    /// Who.
    pub process: Process,
    /// What.
    pub result: Result<T, ClientError>,
}

/// Asks all `processes` for `endpoint`, at the same time; answers in their order.
pub async fn all<T>(processes: Vec<Process>, endpoint: &'static str) -> Vec<Answer<T>>
where
    T: DeserializeOwned + Send + 'static,
{
    let ask = |process: Process| {
        tokio::spawn(async move {
            let result = Client::unix(&process.socket).get(endpoint).await;
            Answer { process, result }
        })
    };
    let tasks: Vec<_> = processes.into_iter().map(ask).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        // A task ends early only by a panic, which has been reported by then.
        answers.extend(task.await.ok());
    }
    answers
}

/// The answers that came; the processes that have no such endpoint are left out, and those that did not answer are named
/// on standard error.
///
/// # Errors
/// Nobody answered.
pub fn present<T>(place: &Place, answers: Vec<Answer<T>>) -> Result<Vec<(Process, T)>, Error> {
    let mut present = Vec::new();
    let mut failures = Vec::new();
    for Answer { process, result } in answers {
        match result {
            Ok(answer) => present.push((process, answer)),
            Err(ClientError::NoEndpoint(_)) => {}
            Err(error) => failures.push(explain(place, &process, &error)),
        }
    }
    if present.is_empty() {
        let nobody = "no process here answers this".to_owned();
        return Err(Error::NoAnswer(if failures.is_empty() {
            nobody
        } else {
            failures.join("\nwarren: ")
        }));
    }
    for failure in failures {
        eprintln!("warren: {failure}");
    }
    Ok(present)
}

/// One line: who does not answer, why, and what to do.
pub fn explain(place: &Place, process: &Process, error: &ClientError) -> String {
    match error {
        ClientError::NotRunning { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            format!("{process}: only root may ask the mesh's processes: run it with sudo")
        }
        ClientError::NotRunning { source, path } => {
            let why = match source.kind() {
                ErrorKind::NotFound => format!("is not running (no {})", path.display()),
                ErrorKind::ConnectionRefused => {
                    format!("has ended (nobody listens on {})", path.display())
                }
                _ => format!("does not answer ({}: {source})", path.display()),
            };
            format!("{process} {why}: {}", place.next_step(process))
        }
        other => format!(
            "{process} does not answer properly ({other}): {}",
            place.next_step(process)
        ),
    }
}
