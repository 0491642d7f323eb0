//! Each pod of a StatefulSet is reached by its own name, and again after it was replaced.

use std::time::Instant;

use anyhow::Result;

use super::world::World;

const PODS: [&str; 3] = ["db-0", "db-1", "db-2"];

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("stateful")?;
    space.apply(include_str!("stateful.yaml"), &[])?;
    space.rolled_out("statefulset/db")?;
    let reached =
        |from: &str, to: &str| Ok(space.fetch(from, &format!("http://{to}.db:8080/"))? == to);
    for from in PODS {
        for to in PODS {
            space.until(&format!("{to} answers {from}"), || reached(from, to))?;
        }
    }
    space.kubectl(&["delete", "pod", "db-1", "--wait=true"])?;
    let began = Instant::now();
    space.rolled_out("statefulset/db")?;
    let ready = began.elapsed();
    for from in ["db-0", "db-2"] {
        space.until(&format!("the new db-1 answers {from}"), || {
            reached(from, "db-1")
        })?;
    }
    // The cluster's DNS may remember the old address for up to half a minute.
    Ok(format!(
        "9 of 9 reached by name; a replaced one ready after {:.1} s, reached by name after {:.1} s",
        ready.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ))
}
