//! Agents, and tunnels, are replaced node by node while pods of the same and of two nodes talk.

use anyhow::{Result, ensure};

use super::load::{self, Counts, Load};
use super::world::{Namespace, World};
use crate::mesh::{self, SYSTEM, VERSION};

const PARTS: [&str; 3] = [
    "deployment/warren-control",
    "daemonset/warren-agent",
    "daemonset/warren-ztunnel",
];

pub(super) fn agents(world: &World) -> Result<String> {
    let [fresh, kept] = under_load(world, "agents", || world.restart(SYSTEM, PARTS[1]))?;
    let told = load::none_failed(&fresh)?;
    let kept = load::none_failed(&kept)?;
    Ok(format!("{told}; {kept}"))
}

/// What the kernel carries does not notice. What the old tunnel carries has its drain time to end; what is new waits for the next tunnel.
pub(super) fn tunnels(world: &World) -> Result<String> {
    let [fresh, kept] = under_load(world, "tunnels", || world.restart(SYSTEM, PARTS[2]))?;
    let told = load::none_failed(&fresh)?;
    let kept = load::kept(&kept, 2)?;
    Ok(format!("{told}; {kept}"))
}

/// All components at once become those of other images, as in an upgrade to another version.
pub(super) fn images(world: &World) -> Result<String> {
    let before = image(world, PARTS[1])?;
    let other = format!("{VERSION}-other");
    // On a cluster that stays, the last run may have left the other ones.
    let tag = if before.ends_with(&other) {
        VERSION
    } else {
        &other
    };
    mesh::tag_images(&world.layout, &other)?;
    let [fresh, kept] = under_load(world, "images", || {
        set(world, &format!("image.tag={tag}"))?;
        for part in PARTS {
            let now = image(world, part)?;
            ensure!(now.ends_with(&format!(":{tag}")), "{part} is still {now}");
        }
        Ok(())
    })?;
    let told = load::none_failed(&fresh)?;
    let kept = load::kept(&kept, 2)?;
    Ok(format!("from {before} to {tag}: {told}; {kept}"))
}

/// Gives the chart another value, and waits for everything that changes with it.
pub(super) fn set(world: &World, value: &str) -> Result<()> {
    mesh::set(&world.layout, value)?;
    PARTS
        .iter()
        .try_for_each(|part| world.rolled_out(SYSTEM, part))
}

fn image(world: &World, part: &str) -> Result<String> {
    let path = ".spec.template.spec.containers[0].image";
    world.value(SYSTEM, part, path)
}

/// Changes the mesh while new connections, and kept ones, are used: what came of them.
pub(super) fn under_load(
    world: &World,
    name: &'static str,
    replace: impl FnOnce() -> Result<()>,
) -> Result<[Counts; 2]> {
    let space = world.strict(name)?;
    let [fresh, kept] = loads(&space)?;
    let mut others = Counts::default();
    let counts = fresh.during(|| {
        others = kept.during(replace)?;
        Ok(())
    })?;
    Ok([counts, others])
}

/// A client on node a of servers on both.
fn loads<'a>(space: &'a Namespace<'a>) -> Result<[Load<'a>; 2]> {
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    let fresh = ["new:one node=http://near/", "new:two nodes=http://far/"];
    Ok([
        Load::start(space, "load", "a", &fresh)?,
        Load::start(space, "kept", "a", &load::KEPT)?,
    ])
}
