//! A change of policy reaches connections that are open.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::Registry;
use crate::lab::Pod;
use crate::peer::StreamReport;
use crate::process::Running;
use crate::world::{CLIENT_A, Ip, OTHER_A, PLAIN_A, SERVER_A, SERVER_B, World, parse, port};

const WITHIN: Duration = Duration::from_secs(1);

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("live/deny-ends-connections", |w, ip| {
        ends(
            w,
            ip,
            "policies/deny-not-shop.yaml",
            &[OTHER_A, PLAIN_A],
            &[CLIENT_A],
        )
    });
    add.both("live/allow-for-others-ends-connections", |w, ip| {
        ends(
            w,
            ip,
            "policies/allow-client.yaml",
            &[OTHER_A, PLAIN_A],
            &[CLIENT_A],
        )
    });
    add.both("live/strict-ends-plaintext", |w, ip| {
        ends(
            w,
            ip,
            "policies/strict.yaml",
            &[PLAIN_A],
            &[CLIENT_A, OTHER_A],
        )
    });
    add.both("live/audit-ends-nothing", |w, ip| {
        ends(
            w,
            ip,
            "policies/audit-all.yaml",
            &[],
            &[CLIENT_A, OTHER_A, PLAIN_A],
        )
    });
}

/// Opens connections to both servers, applies the policy: the victims' end soon, the others' go on.
fn ends(world: &World, ip: Ip, policy: &str, victims: &[Pod], others: &[Pod]) -> Result<()> {
    let mut doomed = open(world, ip, victims)?;
    let kept = open(world, ip, others)?;
    let applied = world.apply(policy)?;
    let begin = Instant::now();
    for (name, running) in &mut doomed {
        let left = (WITHIN + Duration::from_millis(100)).saturating_sub(begin.elapsed());
        running
            .wait(left)
            .with_context(|| format!("{name}: still open {WITHIN:?} after the change"))?;
        let report: StreamReport = parse(&running.rest())?;
        ensure!(!report.ok, "{name}: ended without noticing: {report:?}");
    }
    for (name, mut running) in kept {
        running.wait(Duration::from_secs(15))?;
        let report: StreamReport = parse(&running.rest())?;
        ensure!(
            report.ok,
            "{name}: allowed before and after, but it broke: {report:?}"
        );
        ensure!(
            report.max_gap_ms < 1000,
            "{name}: stood still for {} ms",
            report.max_gap_ms
        );
    }
    drop(applied);
    super::check_open(world)
}

fn open(world: &World, ip: Ip, clients: &[Pod]) -> Result<Vec<(String, Running)>> {
    let mut streams = Vec::new();
    for from in clients {
        for to in [SERVER_A, SERVER_B] {
            let at = world.at(to, ip, port::ECHO)?.to_string();
            // Twice: the first one makes the verdict known, the second may then be direct.
            world.connect(*from, &at, &[])?;
            let running = world.start_peer(*from, &["stream", &at, "--seconds", "4"], true)?;
            streams.push((format!("{from} to {to}"), running));
        }
    }
    Ok(streams)
}
