//! `generate`: wire code from `api/proto`, CRDs from the Rust types, manifests from the charts, `docs/reference` from all of these and from the programs.

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
        // Tests compare all others: those called `…up_to_date`.
        run(wire.arg("--check"))?;
        run(reference.arg("--check"))?;
        return Ok(ExitCode::SUCCESS);
    }
    run(&mut wire)?;
    // Programs of the test cluster: Helm renders the manifests.
    run(build::like_tests().args(["--bin", "warren-cluster", "--quiet"]))?;
    run(Command::new(binary("warren-cluster")).arg("binaries"))?;
    run(cargo()
        .args(["test", "--release", "--quiet", "--locked"])
        .args(["--config", UNIT_TESTS])
        .args(["--package", "warren-crds", "--package", "warren-cli"])
        .args(["up_to_date", "--", "--include-ignored"])
        .env("WARREN_UPDATE_GENERATED", "1"))?;
    run(&mut reference)?;
    Ok(ExitCode::SUCCESS)
}
