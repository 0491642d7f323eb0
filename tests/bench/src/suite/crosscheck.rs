//! The same with tools that others wrote: iperf3 and wrk, where they are installed.

use anyhow::{Context, Result};
use serde_json::Value;

use super::pairs::{Plan, interleave};
use crate::command::Part;
use crate::lab::{Lab, PORT, Server, Side};
use crate::process::installed;
use crate::results::{Compare, Measure, Results, Section};

/// Runs both tools on the wanted parts; a tool that is missing is noted.
///
/// # Errors
/// A tool fails.
pub fn run(
    lab: &Lab,
    plan: &Plan,
    wanted: &dyn Fn(Part) -> bool,
    results: &mut Results,
) -> Result<()> {
    let parts = [
        (Part::SameNode, Section::SameNode, Server::Near),
        (Part::CrossNode, Section::CrossNode, Server::Far),
    ];
    for tool in ["iperf3", "wrk"] {
        if !installed(tool) {
            results
                .notes
                .push(format!("{tool} is not installed: no cross-check with it."));
            continue;
        }
        for (part, section, server) in parts.iter().filter(|(part, ..)| wanted(*part)) {
            let _ = part;
            let pairs = interleave(plan.pairs.min(5), |side| match tool {
                "wrk" => wrk(lab, side, *server, plan),
                _ => iperf3(lab, side, *server, plan),
            })?;
            let (what, unit) = match tool {
                "wrk" => ("Cross-check: wrk, requests/s of 64 connections", "/s"),
                _ => ("Cross-check: iperf3, 1 stream", "Gbit/s"),
            };
            results.measures.push(Measure::compared(
                *section,
                what,
                unit,
                Compare::Ratio,
                pairs.mesh,
                pairs.plain,
            ));
        }
    }
    Ok(())
}

fn iperf3(lab: &Lab, side: Side, server: Server, plan: &Plan) -> Result<f64> {
    let (ip, seconds) = (lab.ip(side, server)?.to_string(), whole_seconds(plan));
    let text = lab.client(
        side,
        &["iperf3", "--client", &ip, "--time", &seconds, "--json"],
    )?;
    let json: Value = serde_json::from_str(&text).context("iperf3 printed no JSON")?;
    let rate = json
        .pointer("/end/sum_received/bits_per_second")
        .and_then(Value::as_f64);
    Ok(rate.context("iperf3 reported no rate")? / 1e9)
}

fn wrk(lab: &Lab, side: Side, server: Server, plan: &Plan) -> Result<f64> {
    let url = format!(
        "http://{}/1024",
        std::net::SocketAddr::new(lab.ip(side, server)?, PORT)
    );
    let duration = format!("{}s", whole_seconds(plan));
    let text = lab.client(
        side,
        &[
            "wrk",
            "--threads",
            "1",
            "--connections",
            "64",
            "--duration",
            &duration,
            &url,
        ],
    )?;
    let line = text
        .lines()
        .find_map(|l| l.trim().strip_prefix("Requests/sec:"));
    line.and_then(|rate| rate.trim().parse().ok())
        .context("wrk reported no rate")
}

fn whole_seconds(plan: &Plan) -> String {
    plan.seconds.ceil().to_string()
}
