//! Services with their peculiarities, and endpoints that come and go.

mod choice;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Registry;
use crate::peer::SpreadReport;
use crate::world::{
    CLIENT_A, CLIENT_B, Ip, PLAIN_A, SERVER_A, SERVER_B, World, eventually, manifests, port, told,
};

/// A probe looks once a second; from there to the kernel's map it took 20 to 250 ms on a busy machine (the kubelet's verdict, the
/// EndpointSlice, the controller's 20 ms of collecting, xDS, the agent). The rest is for the start of a pod and of `warren-peer`.
const SOON: Duration = Duration::from_secs(5);

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.anywhere(|add| {
        add.both("session-affinity", sticky);
        add.both("internal-traffic-policy-local", near);
        add.both("reached-from-outside-the-mesh", from_plain);
    });
    add.both("endpoints-follow-readiness", readiness);
    add.one("probes-work-under-strict-and-deny", probes);
    choice::register(add);
}

fn spread(world: &World, from: crate::lab::Pod, service: &str, ip: Ip) -> Result<SpreadReport> {
    let name = format!("{service}.shop.svc.cluster.local:{}", port::GREET);
    let argv = ["spread", &name, "--count", "40", "--family", ip.digit()];
    let (done, report): (_, SpreadReport) = world.peer(from, &argv)?;
    ensure!(report.ok, "{name}: {done}");
    Ok(report)
}

fn sticky(world: &World, ip: Ip) -> Result<()> {
    let _service = world.apply("services/kinds.yaml")?;
    world.eventually(SOON, || spread(world, CLIENT_A, "sticky", ip).map(drop))?;
    let report = spread(world, CLIENT_A, "sticky", ip)?;
    ensure!(
        report.servers.len() == 1,
        "40 connections of one client went to {:?}",
        report.servers
    );
    Ok(())
}

fn near(world: &World, ip: Ip) -> Result<()> {
    let _service = world.apply("services/kinds.yaml")?;
    for (client, own) in [(CLIENT_A, SERVER_A), (CLIENT_B, SERVER_B)] {
        world.eventually(SOON, || spread(world, client, "near", ip).map(drop))?;
        let report = spread(world, client, "near", ip)?;
        let expected = world.ip(own, ip)?;
        let only = report.servers.keys().all(|a| a.to_canonical() == expected);
        ensure!(
            only,
            "{client} reached {:?}, not only {own} of its own node",
            report.servers
        );
    }
    Ok(())
}

fn from_plain(world: &World, ip: Ip) -> Result<()> {
    let report = spread(world, PLAIN_A, "web", ip)?;
    ensure!(
        report.servers.len() == 2,
        "40 connections from outside the mesh reached {:?}",
        report.servers
    );
    Ok(())
}

/// A pod that says it is not ready gets no connections through its Service, but for one that wants it anyway.
fn readiness(world: &World, ip: Ip) -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (ready, manifest) = (dir.path().join("ready"), dir.path().join("flappy.yaml"));
    fill(
        &manifests().join("services/flappy.yaml"),
        &manifest,
        &[
            ("{{PEER}}", &world.lab.program("warren-peer")),
            ("{{READY}}", &ready.to_string_lossy()),
        ],
    )?;
    std::fs::write(&ready, "")?;
    let result = world.lab.apply(&manifest)?.ok().and_then(|_| {
        reachable(world, "flappy", ip, true).context("as a new pod")?;
        std::fs::remove_file(&ready)?;
        reachable(world, "flappy", ip, false).context("once it is not ready")?;
        reachable(world, "flappy-anyway", ip, true).context("once it is not ready")?;
        std::fs::write(&ready, "")?;
        reachable(world, "flappy", ip, true).context("once it is ready again")
    });
    world.lab.delete(&manifest)?.ok()?;
    result
}

fn reachable(world: &World, service: &str, ip: Ip, expected: bool) -> Result<()> {
    let name = format!("{service}.shop.svc.cluster.local:{}", port::GREET);
    eventually(SOON, || {
        let options = ["--mode", "greet", "--family", ip.digit()];
        let options = [&options[..], &["--timeout-ms", "3000"]].concat();
        let outcome = world.try_connect(CLIENT_A, &name, &options)?;
        ensure!(
            outcome.ok == expected,
            "{name} over {ip}: expected {expected}: {}",
            told(&outcome)
        );
        Ok(())
    })
}

fn fill(from: &Path, to: &Path, values: &[(&str, &str)]) -> Result<()> {
    let text =
        std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    let filled = values
        .iter()
        .fold(text, |text, (name, value)| text.replace(name, value));
    std::fs::write(to, filled).context("cannot write a manifest")
}

/// The kubelet's probes are no plaintext of strangers: pods stay ready and are not restarted.
fn probes(world: &World) -> Result<()> {
    let _strict = world.apply("policies/strict.yaml")?;
    let _nothing = world.apply("policies/allow-nothing.yaml")?;
    // Three failures at one second each would show.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(1));
        let table: Value = serde_json::from_str(&world.lab.lab(&["ps", "--json"])?.ok()?)?;
        let rows = table["pods"].as_array().context("no pods")?;
        for row in rows.iter().filter(|r| r["namespace"] == "shop") {
            ensure!(
                row["ready"] == "1/1" && row["restarts"] == 0,
                "a probe failed: {row}"
            );
        }
    }
    Ok(())
}
