//! `lab`: builds what is out of date and hands over to the lab's own program.

use std::process::ExitCode;

use crate::{build, run};

/// Only `up` needs everything built anew; the other commands speak to a lab that is there.
pub(crate) fn command(args: &[String]) -> anyhow::Result<ExitCode> {
    run::need_root("cargo xtask lab")?;
    let program = run::binary("warren-lab");
    let mut own = args.iter().take_while(|word| *word != "--");
    if own.any(|word| word == "up") {
        build::ready(&[])?;
    }
    anyhow::ensure!(
        program.exists(),
        "the lab is not built yet: `cargo xtask lab up --dir MANIFESTS` builds and starts it, `cargo xtask build` only builds"
    );
    run::become_program(&program, args)
}
