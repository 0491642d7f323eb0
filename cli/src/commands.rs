//! One module a command.

use crate::ask::{self, Answer};
use crate::place::{self, Place, Process};
use crate::{Arguments, Command, Error, install};

mod config;
mod log_level;
mod maps;
mod model;
mod status;
mod traffic;

/// Runs the command; false where something is not as it should be.
pub async fn run(arguments: &Arguments) -> Result<bool, Error> {
    let format = arguments.output;
    if let Command::Check { cgroup } = &arguments.command {
        let objects = match place::find(arguments) {
            Ok(place) => status::told(&place).await,
            Err(asked @ (place::Error::NoLab { .. } | place::Error::NoNode { .. })) => {
                return Err(asked.into());
            }
            // No mesh runs here (yet).
            Err(_) => None,
        };
        return crate::check::run(cgroup.as_deref(), objects.as_deref(), format);
    }
    if let Some(done) = install::run(&arguments.command).await {
        return Ok(done.map(|()| true)?);
    }
    let place = place::find(arguments)?;
    match &arguments.command {
        Command::Status { verbose } => status::run(&place, format, *verbose).await,
        Command::Workloads(filter) => model::workloads(&place, format, filter).await,
        Command::Services(filter) => model::services(&place, format, filter).await,
        Command::Policies(filter) => model::policies(&place, format, filter).await,
        Command::Certs(from) => traffic::certs(&place, format, from).await,
        Command::Connections(from) => traffic::connections(&place, format, from).await,
        Command::Maps => maps::run(&place, format).await,
        Command::LogLevel {
            filter,
            from,
            kernel,
        } => {
            let change = log_level::Change {
                filter: filter.as_deref(),
                kernel: *kernel,
            };
            log_level::run(&place, format, from.as_deref(), change).await
        }
        Command::Config(from) => config::run(&place, format, from).await,
        // Done above: they ask no process of the mesh.
        Command::Check { .. }
        | Command::Install(_)
        | Command::Upgrade(_)
        | Command::Uninstall(_)
        | Command::Render(_) => Ok(true),
    }
}

/// The processes that `--from` means; all without it.
fn chosen(place: &Place, from: Option<&str>) -> Result<Vec<Process>, Error> {
    let wanted = |p: &&Process| from.is_none_or(|component| p.is(component));
    let chosen: Vec<Process> = place.processes.iter().filter(wanted).cloned().collect();
    if chosen.is_empty() {
        let mut there: Vec<&str> = place.processes.iter().map(|p| &*p.component).collect();
        there.sort_unstable();
        there.dedup();
        let asked = from.unwrap_or("any");
        return Err(Error::NoAnswer(format!(
            "no `{asked}` here; there are {}",
            there.join(", ")
        )));
    }
    Ok(chosen)
}

/// Asks the chosen processes for lists and joins them, each item with the process that it comes from.
async fn lists<T>(
    place: &Place,
    from: Option<&str>,
    endpoint: &'static str,
) -> Result<Vec<(String, T)>, Error>
where
    T: serde::de::DeserializeOwned + Send + 'static,
{
    let answers: Vec<Answer<Vec<T>>> = ask::all(chosen(place, from)?, endpoint).await;
    let present = ask::present(place, answers)?;
    let items = present.into_iter().flat_map(|(process, items)| {
        let from = process.to_string();
        items.into_iter().map(move |item| (from.clone(), item))
    });
    Ok(items.collect())
}
