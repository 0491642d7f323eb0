//! `lab`: builds what is out of date and hands over to the lab's own program.

use std::process::ExitCode;

use crate::{build, run};

/// Only `up` needs everything built anew; the other commands speak to a lab that is there.
pub(crate) fn command(args: &[String]) -> anyhow::Result<ExitCode> {
    run::need_root("cargo xtask lab")?;
    let program = run::binary("warren-lab");
    if args.first().is_some_and(|word| word == "up") || !program.exists() {
        build::ready(&[])?;
    }
    run::become_program(&program, args)
}
