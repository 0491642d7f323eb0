//! A node is switched off and on while the controller is away: its pods start, in the mesh and closed, by what the node itself knows.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::world::{Namespace, World};
use crate::machine;
use crate::mesh::SYSTEM;

const NODE: &str = "b";

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("reboot")?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some(NODE))?;
    scale(world, 0)?;
    let result = rebooted(world, &space);
    scale(world, 1)?;
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

/// Without the controller there is nobody to say who may connect: the pod runs, and is closed.
fn rebooted(world: &World, space: &Namespace<'_>) -> Result<String> {
    let before = container(space)?["containerID"].clone();
    machine::power_off(&world.layout, NODE)?;
    machine::power_on(&world.layout, NODE)?;
    let began = Instant::now();
    space.until("a new container on the node", || {
        let now = container(space)?;
        Ok(now["containerID"] != before && now["state"]["running"].is_object())
    })?;
    let runs = began.elapsed();
    let url = format!("http://{}:8080/", ip(space)?);
    let outside = world.on_node(NODE, &["curl", "-sS", "--max-time", "5", &url])?;
    ensure!(!outside.status.success(), "the pod that came back is open");
    Ok(format!(
        "its pod runs {:.1} s after power came back, closed",
        runs.as_secs_f64()
    ))
}

fn container(space: &Namespace<'_>) -> Result<Value> {
    let pods = space.pods("app=far")?;
    ensure!(pods.len() == 1, "{} pods", pods.len());
    Ok(pods[0]["status"]["containerStatuses"][0].clone())
}

fn ip(space: &Namespace<'_>) -> Result<String> {
    let pods = space.pods("app=far")?;
    Ok(pods[0]["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn scale(world: &World, replicas: u8) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    let scale = [
        "scale",
        "deployment/warren-control",
        "--namespace",
        SYSTEM,
        &replicas,
    ];
    world.kubectl.run(&scale)?;
    world.rolled_out(SYSTEM, "deployment/warren-control")?;
    let gone = || {
        let select = "--selector=app.kubernetes.io/name=warren-control";
        let names =
            world
                .kubectl
                .run(&["get", "pods", "--namespace", SYSTEM, select, "-o=name"])?;
        Ok(replicas != "--replicas=0" || names.trim().is_empty())
    };
    crate::wait::until("the controller's end", super::world::LIMIT, &[], gone)
}
