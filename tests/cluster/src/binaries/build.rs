//! Building what the cache lacks.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::modules::{MODULES, Module};
use super::{Binaries, cache};
use crate::{interrupt, out, program};

/// Kubernetes takes four minutes of two processors; slow machines and slow networks are waited for.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// What a cluster needs, built where it is missing.
///
/// # Errors
/// Go or a C library is missing, or a build fails.
pub fn ensure() -> Result<Binaries> {
    modules(|module| !module.extra)
}

/// Everything, also what only some tests need.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_all() -> Result<Binaries> {
    modules(|_| true)
}

fn modules(wanted: impl Fn(&Module) -> bool) -> Result<Binaries> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let go = go_version()?;
    let mut folders = Vec::new();
    for module in MODULES.iter().filter(|module| wanted(module)) {
        let folder = cache.join(format!("{}-{}", module.name, module.key(&go)?));
        if !folder.exists() {
            build(module, &folder, &cache)?;
        }
        folders.push(folder);
    }
    Ok(Binaries { folders })
}

fn build(module: &Module, folder: &Path, cache: &Path) -> Result<()> {
    let lock = File::create(cache.join(format!("{}.lock", module.name)))?;
    while lock.try_lock().is_err() {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    if folder.exists() {
        return Ok(());
    }
    if module.c {
        libseccomp()?;
    }
    let began = Instant::now();
    out::line(format_args!("building {} (Go, once)", module.name));
    let part = cache.join(format!("{}.part", module.name));
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part)?;
    program::long(&mut module.command(&part)?, LIMIT)
        .with_context(|| format!("build {}", module.source().display()))?;
    for name in module.names {
        symlink(module.name, part.join(name))?;
    }
    fs::rename(&part, folder).with_context(|| folder.display().to_string())?;
    out::line(format_args!(
        "built {} in {} s",
        module.name,
        began.elapsed().as_secs()
    ));
    Ok(())
}

fn go_version() -> Result<String> {
    let text = program::output(Command::new("go").args(["env", "GOVERSION", "GOARCH"]))
        .context("Go 1.26 or newer is needed, from https://go.dev/dl")?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let [version, _] = words[..] else {
        bail!("`go env GOVERSION GOARCH` printed {text:?}");
    };
    let mut numbers = version
        .trim_start_matches("go")
        .split('.')
        .map(str::parse::<u32>);
    if let (Some(Ok(1)), Some(Ok(minor @ ..26))) = (numbers.next(), numbers.next()) {
        bail!("Go 1.26 or newer is needed, this is 1.{minor}: get it from https://go.dev/dl");
    }
    Ok(words.join("/"))
}

fn libseccomp() -> Result<PathBuf> {
    let text =
        program::output(Command::new("pkg-config").args(["--variable=libdir", "libseccomp"]))
            .context("runc needs libseccomp: apt-get install -y libseccomp-dev pkg-config gcc")?;
    Ok(PathBuf::from(text.trim()))
}
