//! `ps`, `restart`, `stop`, `start`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::current;
use super::objects::print_lines;
use crate::daemon::PodRow;
use crate::manifest::text;
use crate::protocol::{Request, call};

/// Arguments of `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// A mesh process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Component {
    /// The node agent.
    Agent,
    /// The tunnel.
    Ztunnel,
    /// The controller.
    Control,
    /// The waypoints' pods.
    Waypoint,
}

/// Arguments of `restart`, `stop` and `start`.
#[derive(Debug, Args)]
pub struct ComponentArgs {
    /// Which
    component: Component,
    /// Node; every node that has one by default
    #[arg(long)]
    node: Option<String>,
    /// SIGKILL instead of SIGTERM
    #[arg(long)]
    kill: bool,
}

/// `lab ps`.
pub fn ps(args: &PsArgs) -> Result<ExitCode> {
    let answer = call(&current()?.socket(), &Request::Ps)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", table(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// `lab restart`, `lab stop`, `lab start`.
pub fn component(action: &str, args: &ComponentArgs) -> Result<ExitCode> {
    let socket = current()?.socket();
    let node = args.node.clone();
    let request = if args.component == Component::Waypoint {
        if action != "restart" {
            anyhow::bail!("a waypoint is a pod: {action} it with `apply` or `delete`");
        }
        Request::Waypoints {
            node,
            kill: args.kill,
        }
    } else {
        let component = format!("{:?}", args.component).to_lowercase();
        Request::Component {
            action: action.into(),
            component,
            node,
            kill: args.kill,
        }
    };
    print_lines(&call(&socket, &request)?);
    Ok(ExitCode::SUCCESS)
}

/// The table that `ps` and `up` print.
pub fn table(answer: &Value) -> String {
    let pods: Vec<PodRow> = serde_json::from_value(answer["pods"].clone()).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = vec![
        [
            "NAMESPACE",
            "POD",
            "READY",
            "STATUS",
            "RESTARTS",
            "NODE",
            "ADDRESSES",
            "MESH",
        ]
        .map(str::to_owned)
        .into(),
    ];
    for pod in pods {
        let mesh = if pod.enrolled { "yes" } else { "-" };
        let restarts = pod.restarts.to_string();
        rows.push(vec![
            pod.namespace,
            pod.name,
            pod.ready,
            pod.status,
            restarts,
            pod.node,
            pod.addresses,
            mesh.to_owned(),
        ]);
    }
    let mut out = columns(&rows);
    let components = answer["components"].as_array().cloned().unwrap_or_default();
    if components.is_empty() {
        return out;
    }
    let mut rows: Vec<Vec<String>> = vec![
        ["NODE", "COMPONENT", "STATUS", "PID", "STARTS"]
            .map(str::to_owned)
            .into(),
    ];
    for c in &components {
        let number = |field: &str| c[field].as_i64().map_or("-".to_owned(), |n| n.to_string());
        let word = |field: &str| text(c, &format!("/{field}")).to_owned();
        rows.push(vec![
            word("node"),
            word("component"),
            word("status"),
            number("pid"),
            number("starts"),
        ]);
    }
    out.push('\n');
    out.push_str(&columns(&rows));
    out
}

fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count)
        .map(|i| rows.iter().map(|r| r[i].len()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}
