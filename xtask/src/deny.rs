//! Licences, sources and advisories of everything depended on, by cargo-deny.

use std::path::PathBuf;

use crate::packages;
use crate::run::{cargo, run};

/// Installs cargo-deny where it is missing and runs it. Advisories are checked only where their database is at hand:
/// it comes from a place that a closed network may not reach. Returns whether they were.
pub(crate) fn check() -> anyhow::Result<bool> {
    if !packages::has("cargo-deny") {
        println!("setup: building cargo-deny");
        run(cargo().args(["install", "cargo-deny", "--locked", "--quiet"]))?;
    }
    run(cargo().args([
        "deny",
        "--offline",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))?;
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|dir| dir.join(".cargo")));
    let advisories = home.is_some_and(|dir| dir.join("advisory-dbs").exists());
    if advisories {
        run(cargo().args([
            "deny",
            "--offline",
            "--log-level",
            "error",
            "check",
            "advisories",
        ]))?;
    }
    Ok(advisories)
}
