//! What a person relies on who tries the mesh in the lab.

use anyhow::{Result, ensure};

use super::Registry;
use crate::world::{CLIENT_A, World};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("exec-passes-the-exit-status-on", exit_status);
    add.one("a-second-lab-is-refused", second_lab);
    add.one("bad-arguments", bad_arguments);
}

fn exit_status(world: &World) -> Result<()> {
    for status in [0, 7, 42] {
        let done = world
            .lab
            .exec(CLIENT_A, &["sh", "-c", &format!("exit {status}")])?;
        ensure!(
            done.status.code() == Some(status),
            "expected exit status {status}: {done}"
        );
    }
    Ok(())
}

fn second_lab(world: &World) -> Result<()> {
    let done = world.lab.lab(&["up", "--nodes", "c"])?;
    ensure!(
        !done.status.success() && done.stderr.contains("is up already"),
        "a second `up`: {done}"
    );
    world.lab.exec(CLIENT_A, &["true"])?.ok().map(drop)
}

fn bad_arguments(world: &World) -> Result<()> {
    for argv in [
        &["nothing"][..],
        &["exec"],
        &["restart", "nobody"],
        &["up", "--nodes", "A b"],
    ] {
        let done = world.lab.lab(argv)?;
        let one_line = done.stderr.trim().lines().count() == 1;
        ensure!(
            done.status.code() == Some(2) && one_line,
            "expected one line and exit status 2: {done}"
        );
    }
    Ok(())
}
