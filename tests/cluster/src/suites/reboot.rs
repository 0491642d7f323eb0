//! A node is switched off and on while the controller is away: its pods start by what the node itself knows, those in the mesh closed,
//! those outside as ever.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::control;
use super::world::{Namespace, World};
use crate::machine;

const NODE: &str = "b";

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("reboot")?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some(NODE))?;
    let outside = world.plain("reboot-plain")?;
    outside.web("plain", 1, Some(NODE))?;
    control::scale(world, 0)?;
    let result = rebooted(world, &space, &outside);
    control::scale(world, 1)?;
    let runs = result?;
    let began = Instant::now();
    space.until("both ways, with the controller", || {
        space.fetch("deployment/near", "http://far/")?;
        space.fetch("deployment/far", "http://near/").map(|_| true)
    })?;
    Ok(format!(
        "{runs}; everything {:.1} s after the controller was back",
        began.elapsed().as_secs_f64()
    ))
}

/// Without the controller there is nobody to say who may connect: the pod in the mesh runs, and is closed. Pods outside it, the one that
/// was there and one that is new, do not need anybody's word.
fn rebooted(world: &World, space: &Namespace<'_>, outside: &Namespace<'_>) -> Result<String> {
    let before = [container(space, "far")?, container(outside, "plain")?];
    machine::power_off(&world.layout, NODE)?;
    machine::power_on(&world.layout, NODE)?;
    let began = Instant::now();
    comes_back(space, "far", &before[0])?;
    let runs = began.elapsed();
    let answer = ask(world, &ip(space, "far")?)?;
    ensure!(answer.is_none(), "the pod that came back is open");
    comes_back(outside, "plain", &before[1])?;
    answers(outside, "plain")?;
    let plain = began.elapsed();
    let began = Instant::now();
    outside.web("late", 1, Some(NODE))?;
    answers(outside, "late")?;
    Ok(format!(
        "its pod runs {:.1} s after power came back, closed; the one outside the mesh answers after {:.1} s, a new one {:.1} s after it was made",
        runs.as_secs_f64(),
        plain.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ))
}

/// Waits until another container than `before` runs in the pod of a Deployment.
fn comes_back(space: &Namespace<'_>, name: &str, before: &Value) -> Result<()> {
    space.until("a new container on the node", || {
        let now = container(space, name)?;
        Ok(now["containerID"] != before["containerID"] && now["state"]["running"].is_object())
    })
}

/// Waits until the pod of a Deployment answers its node with its own name.
fn answers(space: &Namespace<'_>, name: &str) -> Result<()> {
    space.until("an answer of the pod outside the mesh", || {
        let pod = pod(space, name)?;
        let answer = ask(space.world, &ip(space, name)?)?;
        Ok(answer.as_deref() == pod["metadata"]["name"].as_str())
    })
}

/// What a pod answers its node.
fn ask(world: &World, ip: &str) -> Result<Option<String>> {
    let url = format!("http://{ip}:8080/");
    let output = world.on_node(NODE, &["curl", "-sS", "--max-time", "5", &url])?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success().then(|| text.trim().to_owned()))
}

fn pod(space: &Namespace<'_>, name: &str) -> Result<Value> {
    let mut pods = space.pods(&format!("app={name}"))?;
    ensure!(pods.len() == 1, "{} pods", pods.len());
    Ok(pods.remove(0))
}

fn container(space: &Namespace<'_>, name: &str) -> Result<Value> {
    Ok(pod(space, name)?["status"]["containerStatuses"][0].clone())
}

fn ip(space: &Namespace<'_>, name: &str) -> Result<String> {
    let pod = pod(space, name)?;
    let ip = pod["status"]["podIP"].as_str();
    ip.map(str::to_owned)
        .with_context(|| format!("{name} has no address yet"))
}
