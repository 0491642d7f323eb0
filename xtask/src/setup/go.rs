//! Go, which builds the test cluster. Debian's is too old for that, but it fetches its makers' own: since 1.21 that is a module like
//! any other, checked against Go's database of sums.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::packages;
use crate::run::run;

const VERSION: &str = "1.26.8";
/// What the cluster's modules ask for.
const MINOR: u32 = 26;
const LINK: &str = "/usr/local/bin/go";
/// Where the programs of a toolchain are; a module's files come without permission to run.
const PROGRAMS: [&str; 2] = ["bin", "pkg/tool"];

/// Installs Go where PATH finds none that is new enough.
pub(super) fn install() -> anyhow::Result<()> {
    if is_new_enough() {
        return Ok(());
    }
    packages::install(&packages::missing(&["golang-go"])?)?;
    if is_new_enough() {
        return Ok(());
    }
    println!("setup: fetching Go {VERSION}");
    let root = fetch().context("Go 1.26 or newer could not be fetched: put one on PATH")?;
    for programs in PROGRAMS {
        let programs = root.join(programs);
        make_runnable(&programs).with_context(|| format!("{}", programs.display()))?;
    }
    let _ = fs::remove_file(LINK);
    symlink(root.join("bin/go"), LINK).with_context(|| format!("make {LINK}, as root"))?;
    ensure!(
        is_new_enough(),
        "Go {VERSION} is at {LINK}, but PATH finds an older one first"
    );
    Ok(())
}

/// Whether PATH finds a Go that can build the cluster.
fn is_new_enough() -> bool {
    minor().is_some_and(|minor| minor >= MINOR)
}

/// M of Go 1.M.
fn minor() -> Option<u32> {
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().strip_prefix("go1.")?.split('.');
    numbers.next()?.parse().ok()
}

fn fetch() -> anyhow::Result<PathBuf> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let module = format!("golang.org/toolchain@v0.0.1-go{VERSION}.linux-{machine}");
    // Outside any module, whose own requirements would count.
    let mut download = Command::new("go");
    run(download
        .current_dir("/")
        .env("GOFLAGS", "")
        .args(["mod", "download", &module]))?;
    let cache = Command::new("go").args(["env", "GOMODCACHE"]).output()?;
    let cache = String::from_utf8(cache.stdout)?;
    Ok(Path::new(cache.trim()).join(module))
}

fn make_runnable(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            make_runnable(&path)?;
        } else {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}
