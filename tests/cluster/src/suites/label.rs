//! A namespace is labelled, and its label is taken away, while its pods talk.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::load::{self, Load};
use super::world::World;
use crate::mesh::SYSTEM;

const NAME: &str = "label";

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.plain(NAME)?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    let fresh = ["new:one node=http://near/", "new:two nodes=http://far/"];
    let before = ["keep:from before the label=http://far/"];
    let fresh = Load::start(&space, "load", "a", &fresh)?;
    let before = Load::start(&space, "before", "a", &before)?;
    ensure!(
        secured(world)? == 0,
        "there was mutual TLS before the label"
    );
    let mut kept = None;
    let mut took = 0.0;
    let counts = fresh.during(|| {
        kept = Some(before.during(|| {
            let began = Instant::now();
            world
                .kubectl
                .run(&["label", "namespace", NAME, "warren.dev/mesh=enabled"])?;
            space.until("connections by mutual TLS", || Ok(secured(world)? > 0))?;
            took = began.elapsed().as_secs_f64();
            Ok(())
        })?);
        Ok(())
    })?;
    let labelled = load::none_failed(&counts)?;
    let labelled = format!(
        "{labelled}; {}",
        load::none_failed(&kept.unwrap_or_default())?
    );
    let during = Load::start(&space, "during", "a", &load::KEPT)?;
    let mut kept = None;
    let counts = fresh.during(|| {
        kept = Some(during.during(|| {
            world
                .kubectl
                .run(&["label", "namespace", NAME, "warren.dev/mesh-"])?;
            quiet(world)
        })?);
        Ok(())
    })?;
    let unlabelled = load::none_failed(&counts)?;
    // Tunnels carry to its end what began in the mesh.
    let kept = load::kept(&kept.unwrap_or_default(), 0)?;
    Ok(format!(
        "mutual TLS seen in the log {took:.1} s after the label; {labelled}; without the label again: {unlabelled}; from the time in the mesh: {kept}"
    ))
}

/// Connections of the namespace by mutual TLS that the tunnel of node b told of.
fn secured(world: &World) -> Result<usize> {
    let pod = world.tunnel("b")?;
    let log = ["logs", &pod, "--namespace", SYSTEM, "--since=60s"];
    let log = world.kubectl.run(&log)?;
    let workload = format!("destination_workload={NAME}/far");
    let fits = |line: &&str| line.contains(&workload) && line.contains("security=mutual_tls");
    Ok(log.lines().filter(fits).count())
}

/// Waits until no new connection of the namespace is told of.
fn quiet(world: &World) -> Result<()> {
    crate::wait::until("no more mutual TLS", super::world::SOON, &[], || {
        let before = secured(world)?;
        std::thread::sleep(std::time::Duration::from_secs(1));
        Ok(secured(world)? <= before)
    })
}
