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
    if args.check {
        // The CRDs' own test compares them with what the types give.
        return run(wire.arg("--check")).map(|()| ExitCode::SUCCESS);
    }
    run(&mut wire)?;
    run(cargo()
        .args([
            "test",
            "--release",
            "--quiet",
            "--locked",
            "--package",
            "warren-crds",
        ])
        .env("WARREN_UPDATE_GENERATED", "1"))?;
    Ok(ExitCode::SUCCESS)
}
