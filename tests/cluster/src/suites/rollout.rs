//! A Deployment is replaced pod by pod while its Service is asked.

use anyhow::Result;

use super::load::{self, Load};
use super::world::World;

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("rollout")?;
    space.web("web", 3, None)?;
    let load = Load::start(&space, "load", "a", &["new:requests=http://web/"])?;
    let counts = load.during(|| {
        world.restart(space.name, "deployment/web")?;
        world.restart(space.name, "deployment/web")
    })?;
    let told = load::none_failed(&counts)?;
    let servers = counts["requests"].by.len();
    anyhow::ensure!(
        servers > 6,
        "only {servers} pods answered, although all three were replaced twice"
    );
    Ok(format!("{told}; {servers} pods answered"))
}
