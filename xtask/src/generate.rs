//! `generate`: wire code from `api/proto`, CRDs from the Rust types, `docs/reference` from both and from the programs.

use std::process::{Command, ExitCode};

use crate::build::{self, UNIT_TESTS};
use crate::run::{binary, cargo, root, run};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if a file is stale
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes the files, or checks them.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    run(build::like_tests()
        .args(["--bin", "warren-codegen", "--bin", "warren-docs", "--quiet"])
        .args(["--config", UNIT_TESTS]))?;
    let mut wire = Command::new(binary("warren-codegen"));
    wire.current_dir(root());
    let mut reference = Command::new(binary("warren-docs"));
    if args.check {
        // The CRDs' own test compares them with what the types give.
        run(wire.arg("--check"))?;
        run(reference.arg("--check"))?;
        return Ok(ExitCode::SUCCESS);
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
    run(&mut reference)?;
    Ok(ExitCode::SUCCESS)
}
