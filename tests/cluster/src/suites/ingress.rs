//! An ordinary proxy in front of STRICT pods: in the mesh it serves clients from outside; outside the mesh it is refused, at once and
//! with a line that says why.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::world::{Namespace, World};
use crate::mesh::SYSTEM;

const AT_ONCE: Duration = Duration::from_secs(3);

pub(super) fn run(world: &World) -> Result<String> {
    let back = world.strict("behind")?;
    back.web("web", 1, Some("b"))?;
    let address = back.value("service/web", ".spec.clusterIP")?;
    let edge = world.plain("edge")?;
    let url = |name| {
        let words = [("NAME", name), ("MESH", name), ("ADDRESS", &*address)];
        edge.apply(include_str!("ingress.yaml"), &words)?;
        edge.wait(&format!("pod/{name}"), "condition=Ready")?;
        let ip = edge.value(&format!("pod/{name}"), ".status.podIP")?;
        anyhow::Ok(format!("http://{ip}:8080/"))
    };
    let (inside, outside) = (url("enabled")?, url("disabled")?);
    let client = "http://127.0.0.1";
    edge.apply(
        include_str!("load.yaml"),
        &[
            ("NAME", "client"),
            ("NODE", "b"),
            ("TARGETS", &format!("['new:self={client}']")),
        ],
    )?;
    edge.wait("pod/client", "condition=Ready")?;
    let answer = edge.fetch("client", &inside)?;
    ensure!(
        answer.starts_with("web-"),
        "through the enrolled proxy: {answer:?}"
    );
    let began = Instant::now();
    let answer = edge.fetch("client", &outside);
    let took = began.elapsed();
    ensure!(answer.is_err(), "through the other proxy: {answer:?}");
    ensure!(took < AT_ONCE, "refused only after {took:?}");
    let line = refusal(world, &edge)?;
    Ok(format!("refused within {} ms: {line}", took.as_millis()))
}

/// What the destination's tunnel says of the proxy that is not in the mesh.
fn refusal(world: &World, edge: &Namespace<'_>) -> Result<String> {
    let source = edge.value("pod/disabled", ".status.podIP")?;
    let tunnel = world.tunnel("b")?;
    let mut found = None;
    edge.until("a line about the refusal", || {
        let log = world
            .kubectl
            .run(&["logs", &tunnel, "--namespace", SYSTEM, "--since=60s"])?;
        found = log
            .lines()
            .find(|line| {
                line.contains(&format!("source={source}:")) && line.contains("verdict=deny")
            })
            .and_then(|line| Some(line[line.find("security=")?..].to_owned()));
        Ok(found.is_some())
    })?;
    Ok(found.unwrap_or_default())
}
