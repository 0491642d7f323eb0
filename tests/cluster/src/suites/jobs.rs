//! The pods of a Job are in the mesh before their first container starts: each container's first and only act is a request that
//! STRICT refuses from outside the mesh.

use std::time::Instant;

use anyhow::Result;

use super::world::World;

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("jobs")?;
    space.web("web", 1, Some("a"))?;
    let address = space.value("service/web", ".spec.clusterIP")?;
    let began = Instant::now();
    space.apply(include_str!("jobs.yaml"), &[("ADDRESS", &address)])?;
    space.until("the Job's end", || {
        let failed = space.value("job/once", ".status.failed")?;
        anyhow::ensure!(failed.is_empty() || failed == "0", "{failed} pods failed");
        Ok(space.value("job/once", ".status.succeeded")? == "6")
    })?;
    Ok(format!(
        "6 pods with an init container each, none failed, {:.1} s",
        began.elapsed().as_secs_f64()
    ))
}
