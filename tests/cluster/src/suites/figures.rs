//! Figures for the documentation: what the mesh adds to a pod's start, how soon a ready pod is used from the other node, and the memory
//! of every component.

use anyhow::{Context as _, Result, ensure};
use time::OffsetDateTime;

use super::load::Load;
use super::world::{Namespace, World};
use crate::mesh::SYSTEM;

/// Pods started in each of the two namespaces.
const PODS: usize = 8;
/// No machine is so busy that a pod in the mesh may take this much longer.
const MOST: f64 = 5.0;

/// From the request to make a pod until its first container runs, and from readiness to the first answer to a client on the other node.
struct Start {
    container: f64,
    used: f64,
}

pub(super) fn starts(world: &World) -> Result<String> {
    let inside = world.strict("figuresin")?;
    let outside = world.plain("figuresout")?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // Alternating, so that whatever else the machine does meets both.
    for _ in 0..PODS {
        with.push(start(&inside)?);
        without.push(start(&outside)?);
    }
    let container = |of: &[Start]| median(of.iter().map(|start| start.container));
    let used = |of: &[Start]| median(of.iter().map(|start| start.used));
    let added = container(&with) - container(&without);
    ensure!(added < MOST, "the mesh adds {added:.2} s to a pod's start");
    Ok(format!(
        "container runs after {:.2} s in the mesh, {:.2} s outside: {:.0} ms added; used from the other node {:.0} ms after readiness, {:.0} ms outside (medians of {PODS})",
        container(&with),
        container(&without),
        added * 1e3,
        used(&with) * 1e3,
        used(&without) * 1e3
    ))
}

fn start(space: &Namespace<'_>) -> Result<Start> {
    let begin = now();
    space.apply(include_str!("figures.yaml"), &[("NAME", "figure")])?;
    // A Service that nobody is behind refuses: the load's first answer is the first use.
    let load = Load::begin(space, "client", "a", &["new:figure=http://figure/"])?;
    let mut first = 0.0;
    space.until("the first answer", || {
        first = load.counts()?["figure"].first_ok;
        Ok(first > 0.0)
    })?;
    let told = |word: &str| -> Result<f64> {
        let log = space.kubectl(&["logs", "figure"])?;
        let line = log.lines().find_map(|line| line.strip_prefix(word));
        line.with_context(|| format!("the pod did not tell when it was{word}: {log:?}"))?
            .trim()
            .parse()
            .context("a time")
    };
    let start = Start {
        container: told("started ")? - begin,
        used: first - told("ready ")?,
    };
    let pods = [
        "delete",
        "pod",
        "figure",
        "client",
        "--force",
        "--grace-period=0",
    ];
    space.kubectl(&pods)?;
    Ok(start)
}

/// Resident memory of every component, and how much of it is anonymous.
pub(super) fn memory(world: &World) -> Result<String> {
    let script = "for p in $(pgrep -x 'warren-(agent|ztunnel|control|waypoint)'); do tr '\\n' ' ' < /proc/$p/status; echo; done";
    let mut lines = Vec::new();
    for node in ["a", "b"] {
        let output = world.on_node(node, &["sh", "-c", script])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines() {
            let word = |name: &str| {
                let mut words = line.split_whitespace().skip_while(|word| *word != name);
                words.nth(1).unwrap_or_default().to_owned()
            };
            let megabytes = |name: &str| word(name).parse::<f64>().map(|kb| kb / 1024.0);
            lines.push(format!(
                "{} on {node} {:.0} MB ({:.0} MB)",
                word("Name:"),
                megabytes("VmRSS:")?,
                megabytes("RssAnon:")?
            ));
        }
    }
    ensure!(lines.len() >= 5, "only these run: {}", lines.join(", "));
    lines.sort();
    let pods = ["get", "pods", "--all-namespaces", "-o=name"];
    let pods = world.kubectl.run(&pods)?.lines().count();
    let restarts = world.kubectl.run(&[
        "get",
        "pods",
        "--namespace",
        SYSTEM,
        "-o=jsonpath={.items[*].status.containerStatuses[*].restartCount}",
    ])?;
    ensure!(
        restarts.split_whitespace().all(|count| count == "0"),
        "a component ended by itself: {restarts}"
    );
    Ok(format!(
        "{} (resident, of it anonymous), {pods} pods",
        lines.join(", ")
    ))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn now() -> f64 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9
}
