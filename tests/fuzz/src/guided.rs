//! Builds this program once more with edge counters and becomes it: coverage guidance on a stable compiler.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// LLVM's SanitizerCoverage pass with a counter an edge; `Coverage` provides what it calls.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";
/// With a target named, build scripts and macros are not instrumented.
#[cfg(target_arch = "x86_64")]
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TRIPLE: &str = "aarch64-unknown-linux-gnu";

/// Builds into `target/guided` of the workspace and starts the result with `args`; returns only on failure.
///
/// # Errors
/// The build fails, or its result cannot be started.
pub fn become_guided(args: &[String]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = root.join("target/guided");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "warren-fuzz",
        "--target",
        TRIPLE,
        "--target-dir",
    ]);
    build
        .arg(&target)
        .current_dir(&root)
        .env("RUSTFLAGS", FLAGS);
    let status = build.status().context("cargo cannot be started")?;
    ensure!(
        status.success(),
        "the build with edge counters failed ({status})"
    );
    let program = target.join(TRIPLE).join("release/warren-fuzz");
    let error = Command::new(&program).args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
