//! Mutual TLS between the nodes: throughput, connections, latency, and what the tunnels pay for it.

use anyhow::Result;

use super::pairs::{Pairs, Plan, interleave};
use crate::lab::{Lab, Server};
use crate::load::report::{Latency, Report};
use crate::process;
use crate::results::{Aim, Compare, Measure, Results, Section};

const HERE: Section = Section::CrossNode;

/// One percentile of a run.
type Pick = fn(&Latency) -> f64;

/// One run, and the CPU that all tunnels used meanwhile.
struct Run {
    report: Report,
    tunnel_cpu: f64,
}

/// Measures everything between the nodes.
///
/// # Errors
/// A load failed.
pub fn run(lab: &Lab, plan: &Plan, results: &mut Results) -> Result<()> {
    let tunnels = lab.tunnels()?;
    let length = plan.length();
    let load = |words: &[&str]| {
        interleave(plan.pairs, |side| {
            let before = process::cpu_of(&tunnels)?;
            let report = lab.load(
                side,
                Server::Far,
                &[words, &["--seconds", &length]].concat(),
            )?;
            Ok(Run {
                report,
                tunnel_cpu: process::cpu_of(&tunnels)? - before,
            })
        })
    };
    let one = load(&["throughput", "--streams", "1"])?;
    let eight = load(&["throughput", "--streams", "8"])?;
    let connections = load(&["connections", "--concurrency", "8"])?;
    let closed = load(&["closed", "--connections", "64"])?;
    let measures = [
        ratio(
            "Throughput, 1 stream",
            "Gbit/s",
            0.38,
            one.map(|r| r.report.gbits()),
        ),
        ratio(
            "Throughput, 8 streams",
            "Gbit/s",
            0.19,
            eight.map(|r| r.report.gbits()),
        ),
        ratio(
            "New connections/s, one request each",
            "/s",
            0.36,
            connections.map(|r| r.report.rate()),
        ),
        ratio(
            "Requests/s, 1 KB, 64 keep-alive connections",
            "/s",
            0.27,
            closed.map(|r| r.report.rate()),
        ),
        cost("Tunnels' CPU a GB, 1 stream", "s", 1.33, &one, |r| {
            r.report.bytes as f64 / 1e9
        }),
        cost(
            "Tunnels' CPU for 10,000 requests",
            "s",
            0.41,
            &closed,
            |r| r.report.served as f64 / 1e4,
        ),
        cost(
            "Tunnels' CPU for 10,000 connections",
            "s",
            2.22,
            &connections,
            |r| r.report.served as f64 / 1e4,
        ),
    ];
    results.measures.extend(measures);
    latency(lab, plan, results)
}

fn ratio(what: &str, unit: &str, istio: f64, pairs: Pairs<f64>) -> Measure {
    Measure::compared(HERE, what, unit, Compare::Ratio, pairs.mesh, pairs.plain)
        .aim(Aim::AtLeast(istio))
        .istio(istio)
}

fn cost(
    what: &str,
    unit: &str,
    istio: f64,
    runs: &Pairs<Run>,
    units: impl Fn(&Run) -> f64,
) -> Measure {
    let values = runs
        .mesh
        .iter()
        .map(|run| run.tunnel_cpu / units(run))
        .collect();
    Measure::alone(HERE, what, unit, values)
        .aim(Aim::AtMost(istio))
        .istio(istio)
}

fn latency(lab: &Lab, plan: &Plan, results: &mut Results) -> Result<()> {
    let seconds = plan.paced_seconds.to_string();
    let words = [
        "paced",
        "--rate",
        "1000",
        "--connections",
        "64",
        "--size",
        "1024",
        "--seconds",
        &seconds,
    ];
    let found = interleave(plan.pairs.min(15), |side| {
        lab.load(side, Server::Far, &words)
    })?;
    let lost: u64 = found
        .mesh
        .iter()
        .chain(&found.plain)
        .map(|report| report.errors)
        .sum();
    if lost > 0 {
        let note =
            format!("Latency at a fixed rate: {lost} requests were not answered within 5 s.");
        results.notes.push(note);
    }
    let percentiles: [(&str, Option<f64>, Pick); 3] = [
        ("p50", Some(214.0), |l| l.p50),
        ("p99", Some(392.0), |l| l.p99),
        ("p99.9", None, |l| l.p999),
    ];
    for (name, istio, pick) in percentiles {
        let at = found.map(|report| report.latency.as_ref().map_or(f64::NAN, pick));
        let what = format!("Latency {name}, 1,000 requests/s of 1 KB on 64 connections");
        let mut measure =
            Measure::compared(HERE, &what, "µs", Compare::Difference, at.mesh, at.plain);
        measure.aim = istio.map(Aim::AtMost);
        measure.istio = istio;
        results.measures.push(measure);
    }
    Ok(())
}
