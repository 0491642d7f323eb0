//! `warren log-level`.

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
        for process in &processes {
            good &= put(place, process, "/log-level", &level).await;
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
        if put(place, &process, "/kernel-log", &json!({ "on": on })).await {
            println!("{process}: kernel log {}", if on { "on" } else { "off" });
        } else {
            good = false;
        }
    }
    Ok(good)
}

/// Says on standard error what failed.
async fn put(place: &Place, process: &Process, endpoint: &str, body: &impl Serialize) -> bool {
    match Client::unix(&process.socket)
        .put::<_, Value>(endpoint, body)
        .await
    {
        Ok(_) => true,
        Err(ClientError::Refused { message, .. }) => {
            eprintln!("warren: {process}: {message}");
            false
        }
        Err(error) => {
            eprintln!("warren: {}", ask::explain(place, process, &error));
            false
        }
    }
}
