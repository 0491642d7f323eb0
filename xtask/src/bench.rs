//! `bench`: measurements, in the lab.

use std::process::ExitCode;

use crate::{build, run};

/// Hands over to the benchmark.
pub(crate) fn command(args: &[String]) -> anyhow::Result<ExitCode> {
    run::need_root("cargo xtask bench")?;
    build::ready(&["warren-bench"])?;
    run::become_program(&run::binary("warren-bench"), args)
}
