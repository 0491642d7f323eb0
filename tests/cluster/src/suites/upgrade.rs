//! Agents, and tunnels, are replaced node by node while pods of the same and of two nodes talk.

use anyhow::{Result, ensure};

use super::load::{self, Counts, Load};
use super::world::{Namespace, World};
use crate::mesh::SYSTEM;

pub(super) fn agents(world: &World) -> Result<String> {
    let [fresh, kept] = under_load(world, "agents", "daemonset/warren-agent")?;
    let told = load::none_failed(&fresh)?;
    let kept = load::none_failed(&kept)?;
    Ok(format!("{told}; {kept}"))
}

/// What the kernel carries does not notice. What the old tunnel carries has its drain time to end; what is new waits for the next tunnel.
pub(super) fn tunnels(world: &World) -> Result<String> {
    let [fresh, kept] = under_load(world, "tunnels", "daemonset/warren-ztunnel")?;
    let told = load::none_failed(&fresh)?;
    let direct = &kept["direct, one connection"];
    ensure!(
        direct.failed == 0,
        "a direct flow broke: {}",
        load::told(&kept)
    );
    let far = &kept["two nodes, one connection"];
    ensure!(
        far.failed <= 2,
        "a connection of two tunnels broke more than twice: {}",
        load::told(&kept)
    );
    Ok(format!("{told}; {}", load::told(&kept)))
}

/// Restarts a part of the mesh while new connections, and kept ones, are used: what came of them.
fn under_load(world: &World, name: &'static str, part: &str) -> Result<[Counts; 2]> {
    let space = world.strict(name)?;
    let [fresh, kept] = loads(&space)?;
    let mut others = Counts::default();
    let counts = fresh.during(|| {
        others = kept.during(|| world.restart(SYSTEM, part))?;
        Ok(())
    })?;
    Ok([counts, others])
}

/// A client on node a of servers on both.
fn loads<'a>(space: &'a Namespace<'a>) -> Result<[Load<'a>; 2]> {
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    let fresh = ["new:one node=http://near/", "new:two nodes=http://far/"];
    let kept = [
        "keep:direct, one connection=http://near/",
        "keep:two nodes, one connection=http://far/",
    ];
    Ok([
        Load::start(space, "load", "a", &fresh)?,
        Load::start(space, "kept", "a", &kept)?,
    ])
}
