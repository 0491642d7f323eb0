//! A node is switched off and on while the controller is away: its pods start, in the mesh, by what the node itself knows.

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
    let address = space.value("service/near", ".spec.clusterIP")?;
    scale(world, 0)?;
    let result = rebooted(world, &space, &address);
    scale(world, 1)?;
    let ready = result?;
    let began = Instant::now();
    space.until("both ways, with the controller", || {
        space.fetch("deployment/near", "http://far/")?;
        space.fetch("deployment/far", "http://near/").map(|_| true)
    })?;
    Ok(format!(
        "{ready}; everything {:.1} s after the controller was back",
        began.elapsed().as_secs_f64()
    ))
}

fn rebooted(world: &World, space: &Namespace<'_>, near: &str) -> Result<String> {
    let before = container(space)?;
    machine::power_off(&world.layout, NODE)?;
    machine::power_on(&world.layout, NODE)?;
    let began = Instant::now();
    space.until("a new container on the node", || {
        Ok(container(space)? != before)
    })?;
    space.until("a ready pod on the node", || {
        let pod = &space.pods("app=far")?[0];
        Ok(pod["status"]["containerStatuses"][0]["ready"] == true)
    })?;
    let ready = began.elapsed();
    let url = format!("http://{near}/");
    space.until("a request to the other node", || {
        space.fetch("deployment/far", &url).map(|_| true)
    })?;
    let reached = began.elapsed();
    let outside = world.on_node(
        NODE,
        &[
            "curl",
            "-sS",
            "--max-time",
            "5",
            &format!("http://{}:8080/", ip(space)?),
        ],
    )?;
    ensure!(!outside.status.success(), "the pod that came back is open");
    Ok(format!(
        "ready {:.1} s, on the other node's pod {:.1} s after power came back",
        ready.as_secs_f64(),
        reached.as_secs_f64()
    ))
}

fn container(space: &Namespace<'_>) -> Result<Value> {
    let pods = space.pods("app=far")?;
    ensure!(pods.len() == 1, "{} pods", pods.len());
    Ok(pods[0]["status"]["containerStatuses"][0]["containerID"].clone())
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
