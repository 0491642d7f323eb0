//! `warren log-level`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use warren_admin::types::LogLevel;
use warren_admin::{Client, ClientError};

use super::chosen;
use crate::output::{self, Located, Table};
use crate::place::{Place, Process};
use crate::{Error, Format, ask};

/// What is to be changed.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The filter.
    pub filter: Option<&'a str>,
    /// The log of the kernel programs.
    pub kernel: Option<bool>,
}

pub async fn run(
    place: &Place,
    format: Format,
    from: Option<&str>,
    change: Change<'_>,
) -> Result<bool, Error> {
    let mut good = true;
    if let Some(on) = change.kernel {
        good &= switch_kernel(place, on).await?;
        if change.filter.is_none() {
            return Ok(good);
        }
    }
    let processes = chosen(place, from)?;
    if let Some(filter) = change.filter {
        let level = LogLevel {
            filter: filter.to_owned(),
        };
        let mut refusals: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for process in &processes {
            match put(place, process, "/log-level", &level).await {
                Ok(()) => {}
                Err(Failure::BadRequest(message)) => {
                    let by = refusals.entry(message).or_default();
                    by.push(process.to_string());
                }
                Err(Failure::Other(line)) => {
                    eprintln!("warren: {line}");
                    good = false;
                }
            }
        }
        if !refusals.is_empty() {
            return Err(Error::BadArgument(in_one_line(refusals)));
        }
    }
    let answers = ask::all(processes, "/log-level").await;
    let present = ask::present(place, answers)?;
    let levels: Vec<Located<LogLevel>> = present
        .into_iter()
        .map(|(process, item)| Located {
            from: process.to_string(),
            item,
        })
        .collect();
    output::write(format, &levels, |levels| {
        let mut table = Table::new(&["from", "log level"]);
        for level in levels {
            table.row(vec![level.from.clone(), level.item.filter.clone()]);
        }
        table.render("no processes")
    })?;
    Ok(good)
}

async fn switch_kernel(place: &Place, on: bool) -> Result<bool, Error> {
    let mut good = true;
    for process in chosen(place, Some("agent"))? {
        match put(place, &process, "/kernel-log", &json!({ "on": on })).await {
            Ok(()) => println!("{process}: kernel log {}", if on { "on" } else { "off" }),
            Err(Failure::BadRequest(message)) => {
                return Err(Error::BadArgument(format!("{process}: {message}")));
            }
            Err(Failure::Other(line)) => {
                eprintln!("warren: {line}");
                good = false;
            }
        }
    }
    Ok(good)
}

/// Why a process did not do it.
enum Failure {
    /// What was asked for makes no sense to it.
    BadRequest(String),
    /// Anything else, in one line.
    Other(String),
}

async fn put(
    place: &Place,
    process: &Process,
    endpoint: &str,
    body: &impl Serialize,
) -> Result<(), Failure> {
    let done = Client::unix(&process.socket)
        .put::<_, Value>(endpoint, body)
        .await;
    match done {
        Ok(_) => Ok(()),
        Err(ClientError::Refused {
            status, message, ..
        }) if status.as_u16() == 400 => Err(Failure::BadRequest(message)),
        Err(ClientError::Refused { message, .. }) => {
            Err(Failure::Other(format!("{process}: {message}")))
        }
        Err(error) => Err(Failure::Other(ask::explain(place, process, &error))),
    }
}

/// Processes of one version say the same: it is told once.
fn in_one_line(refusals: BTreeMap<String, Vec<String>>) -> String {
    let lines: Vec<_> = refusals
        .into_iter()
        .map(|(message, by)| format!("{}: {message}", by.join(", ")))
        .collect();
    lines.join("; ")
}
