//! The lab's own scenarios, as far as they need pods, nodes and objects alone: the same code, on this cluster.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::world::World;

/// By the program beside this one, which prints a line for each and counts them.
pub(super) fn run(world: &World) -> Result<String> {
    let beside = std::env::current_exe()?.with_file_name("warren-scenarios");
    let status = Command::new(&beside)
        .args(["run", "--retries", "1", "--cluster", &world.layout.name])
        .status()
        .with_context(|| format!("start {}: is it built?", beside.display()))?;
    ensure!(status.success(), "some failed, see above");
    Ok(String::new())
}
