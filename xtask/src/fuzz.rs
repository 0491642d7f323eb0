//! `fuzz`: long runs over the parsers of foreign bytes.

use std::process::ExitCode;

use crate::run;

/// Hands over to the fuzz runner.
pub(crate) fn command(args: &[String]) -> anyhow::Result<ExitCode> {
    run::run(run::cargo().args([
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "warren-fuzz",
    ]))?;
    run::become_program(&run::binary("warren-fuzz"), args)
}
