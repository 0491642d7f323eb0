//! Debian packages: which are missing, and their installation without starting services.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::run::{run, succeeds};

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The packages of `wanted` that are not installed.
pub(crate) fn missing<'a>(wanted: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()
        .context("run dpkg-query: Warren's set-up knows Debian and its derivatives")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let present: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    Ok(wanted
        .iter()
        .copied()
        .filter(|name| !present.contains(name))
        .collect())
}

/// Installs packages, or says which command would.
pub(crate) fn install(names: &[&str]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "packages are missing; run as root:\n    apt-get install -y --no-install-recommends {}",
            names.join(" ")
        );
    }
    println!("setup: installing {}", names.join(" "));
    run(apt().args(["update", "-q"])).context("refresh the package lists")?;
    without_services(|| {
        run(apt()
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(names))
    })
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::process::Stdio::null());
    command
}

/// Debian starts a service when its package is installed, unless this file says no.
fn without_services(install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if Path::new(POLICY).exists() {
        return install();
    }
    fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
    fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    let result = install();
    fs::remove_file(POLICY).with_context(|| format!("remove {POLICY}"))?;
    result
}

/// Whether a program can be run.
pub(crate) fn has(program: &str) -> bool {
    succeeds(Command::new("sh").args(["-c", &format!("command -v {program}")]))
}
