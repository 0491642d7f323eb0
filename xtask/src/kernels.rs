//! `kernels`: the kernel floor. Boots Debian's kernels under qemu and tries every program there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};

use crate::run::{cargo, run, target};
use crate::{build, setup};

const STATIC: &str = "x86_64-unknown-linux-gnu";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Versions to try, as Debian numbers them
    #[arg(default_values = ["6.1", "6.12"], value_name = "VERSION")]
    versions: Vec<String>,
}

/// Fetches the kernels, builds the guest, boots each.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    setup::all()?;
    setup::kernels()?;
    build::kernel_programs()?;
    let images = args
        .versions
        .iter()
        .map(|version| image(version))
        .collect::<anyhow::Result<Vec<_>>>()?;
    run(cargo()
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "warren-kernels",
            "--target",
            STATIC,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let guest = target().join(STATIC).join("debug/warren-kernels");
    run(Command::new(guest)
        .arg("run")
        .arg(build::object())
        .args(images))?;
    Ok(ExitCode::SUCCESS)
}

/// The newest packaged kernel of a version, unpacked below the target folder.
fn image(version: &str) -> anyhow::Result<PathBuf> {
    let dir = target().join("kernels").join(version);
    if let Some(found) = unpacked(&dir) {
        return Ok(found);
    }
    fs::create_dir_all(&dir)?;
    let name = newest(version)?;
    println!("kernels: fetching {name}");
    run(Command::new("apt-get")
        .args(["download", "-q", &name])
        .current_dir(&dir))?;
    let package = fs::read_dir(&dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt-get downloaded nothing")?;
    run(Command::new("dpkg").arg("-x").arg(package).arg(&dir))?;
    unpacked(&dir).with_context(|| format!("{name} holds no kernel"))
}

fn unpacked(dir: &std::path::Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir.join("boot")).ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
}

/// The cloud flavour is small and has everything built in that the programs need.
fn newest(version: &str) -> anyhow::Result<String> {
    let pattern = format!(
        r"^linux-image-{}[.][0-9][^ ]*-cloud-amd64(-unsigned)?$",
        version.replace('.', "[.]")
    );
    let output = Command::new("apt-cache")
        .args(["search", "--names-only", &pattern])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    ensure!(
        !names.is_empty(),
        "no package linux-image-{version}*-cloud-amd64: run apt-get update, or name another version"
    );
    names.sort_by_key(|name| numbers(name));
    Ok((*names.last().expect("not empty")).to_owned())
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_sort_by_number() {
        assert!(
            numbers("linux-image-6.1.0-56-cloud-amd64")
                > numbers("linux-image-6.1.0-9-cloud-amd64")
        );
    }
}
