//! A policy that reports, then one that refuses.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::peer::StreamReport;
use crate::world::{
    CLIENT_A, Ip, OTHER_A, PLAIN_A, SERVER_B, World, eventually, parse, port, told,
};

const SOON: Duration = Duration::from_secs(5);

/// AUDIT writes a line, DENY ends what is open and refuses what is new.
pub fn deny(world: &World) -> Result<Vec<String>> {
    let at = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    let audited = {
        let _audit = world.apply("policies/audit-all.yaml")?;
        eventually(SOON, || {
            world.connect(OTHER_A, &at, &[])?;
            line(world, " audit ")
        })?
    };
    let stream = |pod, seconds| world.start_peer(pod, &["stream", &at, "--seconds", seconds], true);
    let mut victim = stream(OTHER_A, "20")?;
    let mut allowed = stream(CLIENT_A, "3")?;
    let deny = world.apply("policies/deny-other.yaml")?;
    let begin = Instant::now();
    victim
        .wait(SOON)
        .context("the open connection was not ended")?;
    let took = begin.elapsed();
    let refused = world.try_connect(OTHER_A, &at, &["--timeout-ms", "5000"])?;
    ensure!(!refused.ok, "{OTHER_A} still connects");
    let denied = eventually(SOON, || line(world, " denial "))?;
    allowed.wait(SOON)?;
    let report: StreamReport = parse(&allowed.rest())?;
    ensure!(report.ok, "an allowed connection broke: {report:?}");
    ensure!(
        took < Duration::from_secs(1),
        "the open connection lived on for {} ms",
        took.as_millis()
    );
    drop(deny);
    let only = allow(world, &at)?;
    Ok(vec![
        format!("AUDIT lets {OTHER_A} pass and writes\n  {audited}"),
        format!(
            "DENY ended its open connection after {} ms; a new one {}",
            took.as_millis(),
            told(&refused)
        ),
        format!("and writes\n  {denied}"),
        format!(
            "{CLIENT_A} went on: {} messages, longest pause {} ms",
            report.messages, report.max_gap_ms
        ),
        only,
    ])
}

/// An ALLOW policy refuses everybody that it does not name.
fn allow(world: &World, at: &str) -> Result<String> {
    let _allow = world.apply("policies/allow-client.yaml")?;
    eventually(SOON, || {
        for (client, expected) in [(CLIENT_A, true), (OTHER_A, false), (PLAIN_A, false)] {
            let outcome = world.try_connect(client, at, &["--timeout-ms", "5000"])?;
            ensure!(outcome.ok == expected, "{client}: {}", told(&outcome));
        }
        Ok(())
    })?;
    Ok(format!(
        "ALLOW for the identity of {CLIENT_A} alone: it connects; {OTHER_A} and, from outside the mesh, {PLAIN_A} do not"
    ))
}

/// The last line of a kind that the tunnel of node b wrote.
fn line(world: &World, kind: &str) -> Result<String> {
    let path = world.lab.dir().join("nodes/b/log/ztunnel.log");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let last = text
        .lines()
        .rev()
        .find(|l| l.contains(kind) || l.contains(&format!("\"type\":\"{}\"", kind.trim())));
    last.map(str::to_owned)
        .with_context(|| format!("no{kind}line in {}", path.display()))
}
