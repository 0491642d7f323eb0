//! `demo`: the mesh at work, step by step.

use std::process::ExitCode;

use crate::{build, run};

/// Hands over to the scenarios' demo.
pub(crate) fn command(args: &[String]) -> anyhow::Result<ExitCode> {
    run::need_root("cargo xtask demo")?;
    build::ready(&["warren-scenarios"])?;
    let args: Vec<String> = std::iter::once("demo".to_owned())
        .chain(args.iter().cloned())
        .collect();
    run::become_program(&run::binary("warren-scenarios"), &args)
}
