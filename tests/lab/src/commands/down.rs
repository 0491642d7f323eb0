//! `down`.

use std::process::ExitCode;

use anyhow::Result;

use super::up::DEFAULT_NAME;
use crate::{cleanup, paths};

/// Removes every lab of this machine, or what a crash left.
pub fn down() -> Result<ExitCode> {
    let labs = paths::labs();
    if labs.is_empty() {
        // A lab whose files are gone may still have a cgroup and pins.
        cleanup::remove(DEFAULT_NAME)?;
        println!("no lab is up");
    }
    for name in labs {
        cleanup::remove(&name)?;
        println!("lab {name} is down");
    }
    Ok(ExitCode::SUCCESS)
}
