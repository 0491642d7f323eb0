//! Commands called wrongly say so at once, in one line.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Registry;
use crate::process::{LIMIT, run};
use crate::world::World;

/// Every program with arguments that it does not take.
const WRONG: &[&[&str]] = &[
    &["warren", "--no-such-flag"],
    &["warren", "no-such-view"],
    &["warren", "status", "-o", "xml"],
    &["warren-lab", "no-such-command"],
    &["warren-lab", "exec", "-n", "shop"],
    &["warren-lab", "apply", "-f"],
    &["warren-lab", "up", "--set", "agent"],
    &["warren-agent", "--no-such-flag"],
    &["warren-agent", "--node", "a", "--direct-flows", "perhaps"],
    &["warren-ztunnel", "--no-such-flag"],
    &["warren-ztunnel", "--drain-timeout", "soon"],
    &["warren-control", "--no-such-flag"],
    &["warren-control", "--cert-ttl", "long"],
    &["warren-scenarios", "run", "--no-such-flag"],
];

/// What needs root, with arguments that are otherwise fine.
const PRIVILEGED: &[&[&str]] = &[
    &["warren-lab", "up"],
    &["warren-lab", "ps"],
    &["warren-agent", "--node", "a"],
    &[
        "warren-ztunnel",
        "--node=a",
        "--xds=https://127.0.0.1:15012",
        "--root-cert=/dev/null",
        "--token=/dev/null",
    ],
    &["warren-scenarios", "run"],
    &["warren-scenarios", "demo"],
];

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("bad-arguments", bad_arguments);
    add.one("without-root", without_root);
}

fn bad_arguments(world: &World) -> Result<()> {
    for words in WRONG {
        let mut command = Command::new(world.lab.program(words[0]));
        command.args(&words[1..]);
        let done = run(command, LIMIT)?;
        ensure!(
            done.status.code() == Some(2)
                && done.stdout.is_empty()
                && done.stderr.trim().lines().count() == 1,
            "`{}`: expected one line and exit status 2: {done}",
            words.join(" ")
        );
    }
    Ok(())
}

/// As nobody: in a user namespace without a mapping.
fn without_root(world: &World) -> Result<()> {
    for words in PRIVILEGED {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--"])
            .arg(world.lab.program(words[0]))
            .args(&words[1..]);
        let begin = Instant::now();
        let done = run(command, LIMIT)?;
        let line = done.stderr.trim();
        ensure!(
            done.status.code() == Some(1)
                && line.lines().count() == 1
                && line.contains("root")
                && begin.elapsed() < Duration::from_secs(5),
            "`{}` without root: {done}",
            words.join(" ")
        );
    }
    Ok(())
}
