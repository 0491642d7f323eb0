//! `generate`: wire code from `api/proto`, CRDs from the Rust types.

use std::process::ExitCode;

use crate::run::{cargo, run};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if a file is stale
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes the files, or checks them.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    let mut wire = cargo();
    wire.args([
        "run",
        "--release",
        "--quiet",
        "--locked",
        "--package",
        "warren-codegen",
        "--",
    ]);
    let mut crds = cargo();
    crds.args([
        "run",
        "--release",
        "--quiet",
        "--locked",
        "--package",
        "warren-crds",
        "--",
    ]);
    for command in [&mut wire, &mut crds] {
        if args.check {
            command.arg("--check");
        }
        run(command)?;
    }
    Ok(ExitCode::SUCCESS)
}
