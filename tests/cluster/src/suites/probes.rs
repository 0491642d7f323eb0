//! The kubelet's probes of every kind work under STRICT as they are; anybody else on the node is refused.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::world::World;

/// Several times a probe's period.
const WATCHED: Duration = Duration::from_secs(8);

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("probes")?;
    space.apply(include_str!("probes.yaml"), &[])?;
    for pod in ["http", "tcp", "grpc", "exec"] {
        space.wait(&format!("pod/{pod}"), "condition=Ready")?;
    }
    sleep(WATCHED);
    let pods = space.pods("app=probed")?;
    ensure!(pods.len() == 4, "{} pods are probed", pods.len());
    for pod in &pods {
        let (name, status) = (
            &pod["metadata"]["name"],
            &pod["status"]["containerStatuses"][0],
        );
        ensure!(
            status["ready"] == true,
            "{name} is no longer ready: {status}"
        );
        ensure!(
            status["restartCount"] == 0,
            "{name} was restarted: {status}"
        );
        refused(world, pod)?;
    }
    let sick = space.value("pod/sick", ".status.containerStatuses[0].ready")?;
    ensure!(sick == "false", "a pod whose probe cannot succeed is ready");
    Ok(format!(
        "HTTP, TCP, gRPC and exec: ready and never restarted in {} s; a wrong port is not ready; other processes of the node are refused",
        WATCHED.as_secs()
    ))
}

/// A process of the node that is not the kubelet.
fn refused(world: &World, pod: &Value) -> Result<()> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let url = format!("http://{}:8080/", word(&pod["status"]["podIP"]));
    let node = word(&pod["spec"]["nodeName"]);
    let answer = world.on_node(&node, &["curl", "-sS", "--max-time", "5", &url])?;
    ensure!(
        !answer.status.success(),
        "{url} answered a process of the node"
    );
    Ok(())
}
