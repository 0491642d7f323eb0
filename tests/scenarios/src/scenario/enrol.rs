//! Pods join and leave the mesh while they run.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Registry;
use super::interception::is_direct;
use crate::lab::Pod;
use crate::peer::StreamReport;
use crate::process::Running;
use crate::world::{
    CLIENT_A, Ip, PLAIN_A, PLAIN_B, SERVER_B, World, eventually, manifests, parse, port,
};

const SOON: Duration = Duration::from_secs(10);

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("namespace-label", by_namespace);
    add.both("pod-label", |w, ip| {
        let label = "warren.dev/mesh=enabled";
        by_pod(
            w,
            ip,
            PLAIN_A,
            label,
            |w| captured(w, PLAIN_A, SERVER_B, ip),
            |w| plain(w, PLAIN_A, ip),
        )
    });
    add.both("pod-opts-out", |w, ip| {
        let label = "warren.dev/mesh=disabled";
        by_pod(
            w,
            ip,
            CLIENT_A,
            label,
            |w| plain(w, CLIENT_A, ip),
            |w| captured(w, CLIENT_A, SERVER_B, ip),
        )
    });
}

fn by_namespace(world: &World, ip: Ip) -> Result<()> {
    let label = Namespace(world);
    let held = streams(
        world,
        ip,
        &[(PLAIN_A, PLAIN_B), (PLAIN_A, SERVER_B), (CLIENT_A, PLAIN_B)],
    )?;
    label.set("enrol/plain-enrolled.yaml")?;
    eventually(SOON, || captured(world, PLAIN_A, SERVER_B, ip))?;
    eventually(SOON, || captured(world, PLAIN_A, PLAIN_B, ip))?;
    undisturbed(held)?;
    // Its identity counts from now on.
    let strict = world.apply("policies/strict.yaml")?;
    eventually(SOON, || {
        world
            .connect(
                PLAIN_A,
                &world.at(SERVER_B, ip, port::ECHO)?.to_string(),
                &[],
            )
            .map(drop)
    })?;
    drop(strict);
    label.set("enrol/plain.yaml")?;
    eventually(SOON, || plain(world, PLAIN_A, ip))?;
    eventually(SOON, || {
        world
            .connect(
                CLIENT_A,
                &world.at(PLAIN_B, ip, port::ECHO)?.to_string(),
                &[],
            )
            .map(drop)
    })
}

fn by_pod(
    world: &World,
    ip: Ip,
    pod: Pod,
    label: &str,
    with: impl Fn(&World) -> Result<()>,
    without: impl Fn(&World) -> Result<()>,
) -> Result<()> {
    eventually(SOON, || without(world))?;
    let held = streams(world, ip, &[(pod, PLAIN_B), (pod, SERVER_B)])?;
    let set = |value: &str| {
        world
            .lab
            .lab(&["label", "-n", pod.namespace, "pod", pod.name, value])?
            .ok()
    };
    set(label)?;
    let result = eventually(SOON, || with(world)).and_then(|()| undisturbed(held));
    set("warren.dev/mesh-")?;
    result?;
    eventually(SOON, || without(world))
}

/// Puts the namespace back when dropped.
struct Namespace<'a>(&'a World);

impl Namespace<'_> {
    fn set(&self, manifest: &str) -> Result<()> {
        self.0
            .lab
            .apply(&manifests().join(manifest))?
            .ok()
            .map(drop)
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set("enrol/plain.yaml") {
            eprintln!("cannot put the namespace plain back: {error:#}");
        }
    }
}

fn captured(world: &World, from: Pod, to: Pod, ip: Ip) -> Result<()> {
    ensure!(
        !is_direct(world, from, to, ip)?,
        "{from} to {to} is not captured"
    );
    Ok(())
}

fn plain(world: &World, from: Pod, ip: Ip) -> Result<()> {
    ensure!(
        is_direct(world, from, SERVER_B, ip)?,
        "{from} to {SERVER_B} is still captured"
    );
    Ok(())
}

fn streams(world: &World, ip: Ip, pairs: &[(Pod, Pod)]) -> Result<Vec<(String, Running)>> {
    let open = |(from, to): &(Pod, Pod)| {
        let at = world.at(*to, ip, port::ECHO)?.to_string();
        let running = world.start_peer(*from, &["stream", &at, "--seconds", "5"], true)?;
        Ok((format!("{from} to {to}"), running))
    };
    pairs.iter().map(open).collect()
}

fn undisturbed(held: Vec<(String, Running)>) -> Result<()> {
    for (name, mut running) in held {
        running.wait(Duration::from_secs(20))?;
        let report: StreamReport = parse(&running.rest())?;
        ensure!(
            report.ok,
            "{name}: a connection from before was disturbed: {report:?}"
        );
    }
    Ok(())
}
