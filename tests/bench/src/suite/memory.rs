//! Memory of the tunnel: idle, and with connections that were used once and stay open.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::pairs::Plan;
use crate::lab::{Lab, Server};
use crate::load::hold::Held;
use crate::process;
use crate::results::{Aim, Measure, Results, Section};

/// Istio's ztunnel when idle, in MB.
const ISTIO_IDLE: f64 = 18.0;

/// Measures one tunnel's memory; the greater one of the two nodes'.
///
/// # Errors
/// No tunnel runs, or the connections cannot be opened at all.
pub fn run(lab: &Lab, plan: &Plan, results: &mut Results) -> Result<()> {
    if lab.is_reused() {
        results
            .notes
            .push("Memory: the lab was in use before, so idle is after other runs.".to_owned());
    }
    let idle = Measure::alone(Section::Memory, "Idle", "MB", vec![greatest(lab)?]);
    results
        .measures
        .push(idle.aim(Aim::AtMost(ISTIO_IDLE)).istio(ISTIO_IDLE));
    for wanted in [1_000, if plan.quick { 2_000 } else { 10_000 }] {
        let (mut child, line) = lab.hold(Server::Far, wanted, 3)?;
        let held: Held =
            serde_json::from_str(&line).with_context(|| format!("`load hold` said: {line}"))?;
        sleep(Duration::from_secs(1));
        let memory = greatest(lab)?;
        child.wait()?;
        if held.open < wanted {
            let why = format!(
                "{} attempts failed; the limit of open files may be too low",
                held.failed
            );
            results.notes.push(format!(
                "Memory: of {wanted} connections only {} could be opened: {why}.",
                held.open
            ));
        }
        let what = format!("With {} connections between the nodes", held.open);
        results
            .measures
            .push(Measure::alone(Section::Memory, &what, "MB", vec![memory]));
    }
    sleep(Duration::from_secs(2));
    results.measures.push(Measure::alone(
        Section::Memory,
        "After all of them were closed",
        "MB",
        vec![greatest(lab)?],
    ));
    Ok(())
}

fn greatest(lab: &Lab) -> Result<f64> {
    let mut most = None;
    for pid in lab.tunnels()? {
        most = most.max(Some(process::memory(pid)?.resident));
    }
    Ok(most.context("no tunnel is up in the lab")? as f64 / 1e6)
}
