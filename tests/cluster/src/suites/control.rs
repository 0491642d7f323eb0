//! Two controllers, of which first both are replaced in turn, and then the one that writes is killed, while pods talk and start.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::load::{self, Counts, Load};
use super::world::{LIMIT, Namespace, World};
use crate::mesh::SYSTEM;
use crate::{binaries, wait};

const PART: &str = "deployment/warren-control";

pub(super) fn two(world: &World) -> Result<String> {
    let space = world.strict("control")?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    let fresh = ["new:one node=http://near/", "new:two nodes=http://far/"];
    let fresh = Load::start(&space, "load", "a", &fresh)?;
    let kept = Load::start(&space, "kept", "a", &load::KEPT)?;
    scale(world, 2)?;
    let result = replaced(world, &space, &fresh, &kept);
    scale(world, 1)?;
    result
}

fn replaced(
    world: &World,
    space: &Namespace<'_>,
    fresh: &Load<'_>,
    kept: &Load<'_>,
) -> Result<String> {
    let mut others = Counts::default();
    let mut took = 0.0;
    let counts = fresh.during(|| {
        others = kept.during(|| {
            world
                .kubectl
                .run(&["rollout", "restart", PART, "--namespace", SYSTEM])?;
            starts(space, "turn")?;
            settled(world, 2)?;
            let (before, began) = kill(world)?;
            starts(space, "kill")?;
            next(world, &before)?;
            took = began.elapsed().as_secs_f64();
            settled(world, 2)
        })?;
        Ok(())
    })?;
    let told = load::none_failed(&counts)?;
    let kept = load::kept(&others, 0)?;
    Ok(format!(
        "the one that wrote was killed: a pod in the mesh has started, and another one writes, {took:.1} s later; {told}; {kept}"
    ))
}

/// A pod starts in the mesh meanwhile, answers, and asks.
fn starts(space: &Namespace<'_>, name: &str) -> Result<()> {
    space.web(name, 1, Some("b"))?;
    space.until("both ways with the new pod", || {
        space.fetch("deployment/near", &format!("http://{name}/"))?;
        space.fetch(&format!("deployment/{name}"), "http://near/")?;
        Ok(true)
    })
}

/// Kills the process of the controller that writes, which so keeps the Lease until that ends. Returns who it was, and when.
fn kill(world: &World) -> Result<(String, Instant)> {
    let mut before = String::new();
    wait::until("a controller that writes", LIMIT, &[], || {
        before = holder(world)?;
        Ok(!before.is_empty())
    })?;
    let pod = before.split('_').next().unwrap_or_default();
    let pod = format!("pod/{pod}");
    let node = world.value(SYSTEM, &pod, ".spec.nodeName")?;
    let id = ".status.containerStatuses[0].containerID";
    let id = world.value(SYSTEM, &pod, id)?;
    let id = id.trim_start_matches("containerd://");
    let ctr = binaries::ensure()?.program("ctr")?.display().to_string();
    let kill = ["tasks", "kill", "--signal=SIGKILL", id];
    let kill = [&[&ctr, "--namespace=k8s.io"][..], &kill].concat();
    let began = Instant::now();
    let output = world.on_node(&node, &kill)?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot kill {pod}: {why}");
    Ok((before, began))
}

/// Waits until another one than `before` writes.
fn next(world: &World, before: &str) -> Result<()> {
    wait::until("another controller that writes", LIMIT, &[], || {
        let now = holder(world)?;
        Ok(!now.is_empty() && now != before)
    })
}

/// Who holds the Lease: a pod's name, `_`, and what tells its processes apart. Empty for nobody.
fn holder(world: &World) -> Result<String> {
    world.value(SYSTEM, "lease/warren-control", ".spec.holderIdentity")
}

/// Has so many controllers, and waits until there are no others.
pub(super) fn scale(world: &World, replicas: usize) -> Result<()> {
    let wanted = format!("--replicas={replicas}");
    world
        .kubectl
        .run(&["scale", PART, "--namespace", SYSTEM, &wanted])?;
    settled(world, replicas)
}

fn settled(world: &World, replicas: usize) -> Result<()> {
    world.rolled_out(SYSTEM, PART)?;
    let select = "--selector=app.kubernetes.io/name=warren-control";
    let get = ["get", "pods", "--namespace", SYSTEM, select, "-o=name"];
    wait::until("as many controllers as wanted", LIMIT, &[], || {
        Ok(world.kubectl.run(&get)?.lines().count() == replicas)
    })
}
