//! `down`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cleanup, paths};

/// Removes every lab of this machine, or what a crash left.
pub fn down() -> Result<ExitCode> {
    let mut labs = paths::labs();
    if labs.is_empty() {
        // A lab whose files are gone may still have a cgroup and pins.
        labs.push("lab".to_owned());
    }
    for name in labs {
        cleanup::remove(&name)?;
        println!("lab {name} is down");
    }
    Ok(ExitCode::SUCCESS)
}
