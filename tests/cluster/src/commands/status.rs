//! `status`: the table of machines.

use std::fs;
use std::process::ExitCode;

use anyhow::Result;

use crate::binaries;
use crate::cgroups;
use crate::kubectl::Kubectl;
use crate::layout::{CONTROL, Layout};
use crate::machine::is_alive;
use crate::out;
use crate::plan::{Pair, Plan};

pub(super) fn command(layout: &Layout) -> Result<ExitCode> {
    print(layout)?;
    let plan = Plan::load(layout)?;
    let kubectl = Kubectl::new(&binaries::ensure()?.program("kubectl")?, layout);
    match kubectl.run(&["get", "nodes"]) {
        Ok(text) => out::line(text.trim_end()),
        Err(error) => out::line(format_args!("the API server does not answer: {error:#}")),
    }
    out::line(format_args!(
        "export KUBECONFIG={}",
        layout.kubeconfig().display()
    ));
    let mut all = std::iter::once(CONTROL).chain(plan.nodes.iter().map(String::as_str));
    let up = all.all(|machine| is_alive(layout, machine));
    Ok(if up {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints a line for each machine.
pub(super) fn print(layout: &Layout) -> Result<()> {
    let plan = Plan::load(layout)?;
    out::line(format_args!(
        "{:<16} {:<6} {:<14} {:<20} {:<36} RUNNING",
        "MACHINE", "STATE", "IPV4", "IPV6", "PODS"
    ));
    line(layout, CONTROL, plan.control(), "");
    for (index, node) in plan.nodes.iter().enumerate() {
        line(layout, node, plan.node(index), &plan.pods(index).join(" "));
    }
    Ok(())
}

fn line(layout: &Layout, machine: &str, (v4, v6): Pair, pods: &str) {
    let state = if is_alive(layout, machine) {
        "on"
    } else {
        "off"
    };
    let running = running(layout, machine).join(" ");
    let (v4, v6) = (v4.to_string(), v6.to_string());
    out::line(format_args!(
        "{machine:<16} {state:<6} {v4:<14} {v6:<20} {pods:<36} {running}"
    ));
}

/// Names of the components that have a process.
fn running(layout: &Layout, machine: &str) -> Vec<String> {
    let unified = cgroups::hierarchies()
        .unwrap_or_default()
        .into_iter()
        .find(|h| h.options.is_none());
    let Some(unified) = unified else {
        return Vec::new();
    };
    let slice = unified
        .path
        .join(layout.cgroup())
        .join(machine)
        .join("system.slice");
    let Ok(entries) = fs::read_dir(slice) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| {
            fs::read_to_string(entry.path().join("cgroup.procs")).is_ok_and(|text| !text.is_empty())
        })
        .filter_map(|entry| {
            Some(
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".service")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    names
}
