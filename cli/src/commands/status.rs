//! `warren status`.

use std::collections::BTreeSet;

use serde::Serialize;
use warren_admin::types::{ComponentStatus, RejectedResource, Warning, XdsStatus};

use crate::ask::{self, Answer};
use crate::output::{self, Located, Table, age, or_dash};
use crate::place::Place;
use crate::{Error, Format};

/// The whole answer.
#[derive(Debug, Serialize)]
struct Report {
    /// The lab, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lab: Option<String>,
    processes: Vec<Located<ComponentStatus>>,
    /// Processes that do not answer, each with what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreachable: Vec<String>,
    /// Objects that the controller could not honour.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

pub async fn run(place: &Place, format: Format, verbose: bool) -> Result<bool, Error> {
    let mut report = Report {
        lab: place.lab.clone(),
        processes: Vec::new(),
        unreachable: Vec::new(),
        warnings: Vec::new(),
    };
    for Answer { process, result } in
        ask::all::<ComponentStatus>(place.processes.clone(), "/status").await
    {
        match result {
            Ok(item) => report.processes.push(Located {
                from: process.to_string(),
                item,
            }),
            Err(error) => report
                .unreachable
                .push(ask::explain(place, &process, &error)),
        }
    }
    report.warnings = told(place).await.unwrap_or_default();
    output::write(format, &report, |report| draw(report, verbose))?;
    let ready = report.processes.iter().all(|p| p.item.ready);
    Ok(ready && report.unreachable.is_empty() && !report.processes.is_empty())
}

/// Objects that the controllers of this place could not honour; None where there is no controller, or none answers.
pub async fn told(place: &Place) -> Option<Vec<Warning>> {
    let controllers = place
        .processes
        .iter()
        .filter(|p| p.is("control"))
        .cloned()
        .collect();
    let answers = ask::all::<Vec<Warning>>(controllers, "/warnings").await;
    let lists: Vec<Vec<Warning>> = answers.into_iter().filter_map(|a| a.result.ok()).collect();
    let all: BTreeSet<Warning> = lists.iter().flatten().cloned().collect();
    (!lists.is_empty()).then(|| all.into_iter().collect())
}

fn draw(report: &Report, verbose: bool) -> String {
    let mut text = String::new();
    if let Some(lab) = &report.lab {
        text.push_str(&format!("lab {lab}\n\n"));
    }
    text.push_str(&processes(report));
    for section in [troubles(report), warnings_table(report)] {
        if !section.is_empty() {
            text.push('\n');
            text.push_str(&section);
        }
    }
    if verbose {
        text.push('\n');
        text.push_str(&details(report));
    }
    text
}

fn processes(report: &Report) -> String {
    let mut table = Table::new(&[
        "process",
        "version",
        "up",
        "ready",
        "pods",
        "controller",
        "model",
        "clients",
    ]);
    for Located { from, item } in &report.processes {
        let pods = item.pods.map(|p| match (p.pending, p.failed) {
            (0, 0) => p.enrolled.to_string(),
            (pending, 0) => format!("{} (+{pending} pending)", p.enrolled),
            (pending, failed) => format!("{} (+{pending} pending, {failed} failed)", p.enrolled),
        });
        let is_control = item.component == "control";
        table.row(vec![
            from.clone(),
            item.version.clone(),
            age(item.started),
            if item.ready { "yes" } else { "no" }.to_owned(),
            or_dash(&pods.unwrap_or_default()),
            or_dash(&item.xds.as_ref().map(stream).unwrap_or_default()),
            or_dash(&item.xds.as_ref().map(model).unwrap_or_default()),
            if is_control {
                item.clients.len().to_string()
            } else {
                "-".to_owned()
            },
        ]);
    }
    table.render("no process answers")
}

fn stream(xds: &XdsStatus) -> String {
    match xds.connected_since {
        Some(since) if xds.connected => format!("connected {}", age(since)),
        _ => "not connected".to_owned(),
    }
}

fn model(xds: &XdsStatus) -> String {
    let counts = format!(
        "{} workloads, {} services, {} policies",
        xds.workloads, xds.services, xds.policies
    );
    if xds.synced {
        counts
    } else {
        format!("{counts}, not complete yet")
    }
}

/// One line for everything that is wrong with a process.
fn troubles(report: &Report) -> String {
    let mut lines: Vec<String> = report.unreachable.clone();
    for Located { from, item } in &report.processes {
        if !item.waiting_for.is_empty() {
            lines.push(format!("{from} waits for {}", item.waiting_for.join(", ")));
        }
        if let Some(xds) = &item.xds {
            if let (false, Some(error)) = (xds.connected, &xds.last_error) {
                lines.push(format!("{from} has no connection to the controller: {error}; what it knows stays in force"));
            }
            let closes = |r: &RejectedResource| {
                r.closes
                    .as_ref()
                    .map(|c| format!("; until it can be read, {c}"))
            };
            lines.extend(xds.rejected.iter().map(|r| {
                let closes = closes(r).unwrap_or_default();
                format!("{from} refused {}: {}{closes}", r.resource, r.error)
            }));
        }
        let nacks = item
            .clients
            .iter()
            .filter_map(|c| Some((c, c.last_nack.as_ref()?)));
        lines.extend(
            nacks.map(|(client, nack)| format!("{} refused its last update: {nack}", client.id)),
        );
    }
    let versions: BTreeSet<&str> = report
        .processes
        .iter()
        .map(|p| p.item.version.as_str())
        .collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        lines.push(format!("versions differ: {}", versions.join(", ")));
    }
    lines.into_iter().map(|l| format!("! {l}\n")).collect()
}

fn warnings_table(report: &Report) -> String {
    if report.warnings.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["not honoured", "at", "reason"]);
    for w in &report.warnings {
        let at = match (&w.file, w.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => "-".to_owned(),
        };
        table.row(vec![or_dash(&output::object(w)), at, w.reason.clone()]);
    }
    table.render("")
}

fn details(report: &Report) -> String {
    let mut table = Table::new(&["process", "detail", "value"]);
    for Located { from, item } in &report.processes {
        table.row(vec![from.clone(), "pid".into(), item.pid.to_string()]);
        for (name, value) in &item.details {
            table.row(vec![from.clone(), name.clone(), value.clone()]);
        }
        for client in &item.clients {
            let value = format!(
                "{} from {}, {}",
                client.id,
                client.address,
                age(client.connected_since)
            );
            table.row(vec![from.clone(), "client".into(), value]);
        }
    }
    table.render("no details")
}
