//! The mesh is installed while pods of a labelled namespace talk: they are in it a few seconds later, and no request fails.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::load::{self, Load};
use super::world::{Namespace, World};
use crate::mesh::{self, SYSTEM};

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.enrolled("meshed")?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    let targets = ["new:one node=http://near/", "new:two nodes=http://far/"];
    let load = Load::start(&space, "load", "a", &targets)?;
    mesh::install_kinds(&world.layout)?;
    let mut took = Duration::ZERO;
    let mut first = 0.0;
    let counts = load.during(|| {
        let (began, since) = (Instant::now(), now());
        mesh::install_mesh(&world.kubectl, &world.layout)?;
        took = began.elapsed();
        first = first_connection(&space)? - since;
        Ok(())
    })?;
    let told = load::none_failed(&counts)?;
    Ok(format!(
        "first connection by mutual TLS between two nodes {first:.1} s after `helm install`, which ended after {:.1} s; {told}",
        took.as_secs_f64()
    ))
}

/// When the first one ended at the tunnel of node b, in seconds since 1970.
fn first_connection(space: &Namespace<'_>) -> Result<f64> {
    let tunnel = space.world.tunnel("b")?;
    let mut stamp = String::new();
    space.until("a connection by mutual TLS", || {
        let log = space
            .world
            .kubectl
            .run(&["logs", &tunnel, "--namespace", SYSTEM])?;
        let line = log
            .lines()
            .find(|line| line.contains(" access ") && line.contains("security=mutual_tls"));
        stamp = line
            .and_then(|line| line.split(' ').next())
            .unwrap_or_default()
            .to_owned();
        Ok(!stamp.is_empty())
    })?;
    let time = OffsetDateTime::parse(&stamp, &Rfc3339);
    let time = time.with_context(|| format!("the time {stamp}"))?;
    Ok(time.unix_timestamp_nanos() as f64 / 1e9)
}

fn now() -> f64 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() as f64 / 1e9
}
