//! `cluster`: builds what is out of date and hands over to the cluster's own program.

use std::process::ExitCode;

use crate::{run, setup};

/// Only `up` and `smoke` need everything made ready; the other commands speak to a cluster that is there.
pub(crate) fn command(args: &[String]) -> anyhow::Result<ExitCode> {
    run::need_root("cargo xtask cluster")?;
    let program = run::binary("warren-cluster");
    let starts = args
        .iter()
        .any(|word| word == "up" || word == "smoke" || word == "binaries");
    if starts || !program.exists() {
        ready()?;
    }
    run::become_program(&program, args)
}

/// Sets the machine up and builds the cluster's program.
pub(crate) fn ready() -> anyhow::Result<()> {
    setup::cluster()?;
    run::run(run::cargo().args([
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "warren-cluster",
    ]))
}
