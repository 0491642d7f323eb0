//! Direct flows: what the kernel programs cost where no tunnel takes part.

use anyhow::Result;

use super::pairs::{Pairs, Plan, interleave};
use crate::lab::{Lab, Server, Side};
use crate::load::report::Report;
use crate::process;
use crate::results::{Aim, Compare, Measure, Results, Section};

const HERE: Section = Section::SameNode;

/// Measures throughput, requests, connections and added latency on one node.
///
/// # Errors
/// A load failed, or the tunnel carried what should be direct.
pub fn run(lab: &Lab, plan: &Plan, results: &mut Results) -> Result<()> {
    // The first connection asks for the verdict; from then on the kernel knows it.
    lab.load(
        Side::Mesh,
        Server::Near,
        &["connections", "--concurrency", "1", "--seconds", "0.5"],
    )?;
    let tunnels = lab.tunnels()?;
    let before = process::cpu_of(&tunnels)?;
    let length = plan.length();
    let load = |words: &[&str], pairs: usize| {
        interleave(pairs, |side| {
            lab.load(
                side,
                Server::Near,
                &[words, &["--seconds", &length]].concat(),
            )
        })
    };
    let ratio = |what: &str, unit: &str, bound: f64, pairs: Pairs<f64>| {
        Measure::compared(HERE, what, unit, Compare::Ratio, pairs.mesh, pairs.plain)
            .aim(Aim::AtLeast(bound))
    };
    for (streams, what) in [
        ("1", "Throughput, 1 stream"),
        ("8", "Throughput, 8 streams"),
    ] {
        let found = load(&["throughput", "--streams", streams], plan.pairs)?.map(Report::gbits);
        results.measures.push(ratio(what, "Gbit/s", 0.95, found));
    }
    let found = load(&["closed", "--connections", "64"], plan.pairs)?.map(Report::rate);
    results.measures.push(ratio(
        "Requests/s, 1 KB, 64 keep-alive connections",
        "/s",
        0.95,
        found,
    ));
    let found = load(&["connections", "--concurrency", "8"], plan.pairs)?.map(Report::rate);
    results.measures.push(ratio(
        "New connections/s, one request each",
        "/s",
        0.85,
        found,
    ));
    results.measures.push(added_latency(lab, plan)?);
    let used = process::cpu_of(&tunnels)? - before;
    let note = format!(
        "Direct flows: the tunnels together used {used:.2} s of CPU during all same-node runs."
    );
    results.notes.push(note);
    Ok(())
}

fn added_latency(lab: &Lab, plan: &Plan) -> Result<Measure> {
    let seconds = if plan.quick { "0.5" } else { "1" };
    let words = [
        "closed",
        "--connections",
        "1",
        "--size",
        "64",
        "--seconds",
        seconds,
    ];
    let found = interleave(plan.latency_pairs, |side| {
        lab.load(side, Server::Near, &words)
    })?;
    let median = found.map(|report| report.latency.map_or(f64::NAN, |l| l.p50));
    let what = "Median round trip, one connection";
    Ok(Measure::compared(
        HERE,
        what,
        "µs",
        Compare::Difference,
        median.mesh,
        median.plain,
    )
    .aim(Aim::AtMost(2.0)))
}
