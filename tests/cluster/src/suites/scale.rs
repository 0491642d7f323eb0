//! A Deployment grows from nothing to fifty pods in the mesh, and goes again.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::load::Load;
use super::world::{Namespace, World};

const PODS: usize = 50;

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("scale")?;
    space.apply(include_str!("scale.yaml"), &[])?;
    let address = space.value("service/many", ".spec.clusterIP")?;
    let load = Load::begin(
        &space,
        "load",
        "a",
        &[&format!("new:requests=http://{address}/")],
    )?;
    let began = Instant::now();
    scale(&space, PODS)?;
    let up = began.elapsed();
    space.until("answers of every pod", || {
        Ok(load.counts()?["requests"].by.len() == PODS)
    })?;
    let heard = began.elapsed();
    let restarts = restarts(&space.pods("app=many")?);
    ensure!(restarts == 0, "containers were restarted {restarts} times");
    let began = Instant::now();
    scale(&space, 0)?;
    space.until("the end of every pod", || {
        Ok(space.pods("app=many")?.is_empty())
    })?;
    let down = began.elapsed();
    let before = load.counts()?["requests"].clone();
    space.until("refusals", || {
        let now = load.counts()?["requests"].clone();
        Ok(now.failed > before.failed && now.ok == before.ok)
    })?;
    Ok(format!(
        "ready {:.1} s, all answered a client {:.1} s after the start, gone in {:.1} s",
        up.as_secs_f64(),
        heard.as_secs_f64(),
        down.as_secs_f64()
    ))
}

fn scale(space: &Namespace<'_>, replicas: usize) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    space.kubectl(&["scale", "deployment/many", &replicas])?;
    space.rolled_out("deployment/many").context("scale")
}

fn restarts(pods: &[Value]) -> u64 {
    let statuses = pods
        .iter()
        .filter_map(|pod| pod["status"]["containerStatuses"].as_array())
        .flatten();
    statuses
        .map(|status| status["restartCount"].as_u64().unwrap_or(0))
        .sum()
}
