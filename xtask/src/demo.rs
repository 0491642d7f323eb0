//! `demo`: the mesh at work, step by step.

use std::process::ExitCode;

use crate::{build, run};

/// The demo's own options, read here, so that a misspelt one is refused before anything is installed and built.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the lab up and print what to try
    #[arg(long)]
    keep: bool,
}

/// Hands over to the scenarios' demo.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    run::need_root("cargo xtask demo")?;
    build::ready(&["warren-scenarios"])?;
    let mut words = vec!["demo".to_owned()];
    if args.keep {
        words.push("--keep".to_owned());
    }
    run::become_program(&run::binary("warren-scenarios"), &words)
}
