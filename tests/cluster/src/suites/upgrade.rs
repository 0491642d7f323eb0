//! Agents, and tunnels, are replaced node by node while pods of the same and of two nodes talk.

use anyhow::{Result, ensure};

use super::load::{self, Load};
use super::world::{Namespace, World};
use crate::mesh::SYSTEM;

pub(super) fn agents(world: &World) -> Result<String> {
    let space = world.strict("agents")?;
    let [fresh, kept] = loads(&space)?;
    let mut others = None;
    let counts = fresh.during(|| {
        others = Some(kept.during(|| world.restart(SYSTEM, "daemonset/warren-agent"))?);
        Ok(())
    })?;
    let told = load::none_failed(&counts)?;
    let kept = load::none_failed(&others.unwrap_or_default())?;
    Ok(format!("{told}; {kept}"))
}

/// What the kernel carries does not notice. What the old tunnel carries has its drain time to end; what is new waits for the next tunnel.
pub(super) fn tunnels(world: &World) -> Result<String> {
    let space = world.strict("tunnels")?;
    let [fresh, kept] = loads(&space)?;
    let mut others = None;
    let counts = fresh.during(|| {
        others = Some(kept.during(|| world.restart(SYSTEM, "daemonset/warren-ztunnel"))?);
        Ok(())
    })?;
    let told = load::none_failed(&counts)?;
    let kept = others.unwrap_or_default();
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
