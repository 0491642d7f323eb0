//! `build`: the kernel programs, with whichever compiler the machine has for them, and the release binaries.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::run::{cargo, root, run, target};
use crate::setup;

/// What runs on a node, in the lab, and on a person's desk.
const BINARIES: &[&str] = &[
    "warren-agent",
    "warren-ztunnel",
    "warren-control",
    "warren-cni",
    "warren-cli",
    "warren-lab",
];
const TARGET: &str = "bpfel-unknown-none";
/// Debug information is what gives maps their field names.
const FLAGS: &str = "-Cdebuginfo=2\u{1f}-Clink-arg=--btf\u{1f}-Clinker=bpf-linker";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the kernel programs
    #[arg(long)]
    kernel: bool,
}

/// Builds everything that the lab runs.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    kernel_programs()?;
    if !args.kernel {
        binaries(&[])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every package that stable Rust builds. Whatever `test` compiles, it selects these: cargo unites features over the packages selected, so
/// that another selection would compile dependencies again.
pub(crate) const EVERYTHING: [&str; 3] = ["--workspace", "--exclude", "warren-ebpf"];

/// How our own crates are compiled for unit tests.
pub(crate) const UNIT_TESTS: &str = "xtask/unit-tests.toml";

/// `cargo build` that gives dependencies the features that `cargo test` gives them: with one test among the targets, cargo counts
/// those of dev-dependencies in.
pub(crate) fn like_tests() -> Command {
    let mut command = cargo();
    command
        .args(["build", "--release", "--locked"])
        .args(EVERYTHING)
        .args(["--test", "arrows"]);
    command
}

/// Sets the machine up and builds everything that the lab runs, and `more` packages.
pub(crate) fn ready(more: &[&str]) -> anyhow::Result<()> {
    setup::all()?;
    kernel_programs()?;
    binaries(more)
}

/// The kernel object.
pub(crate) fn object() -> PathBuf {
    target()
        .join("bpf")
        .join(TARGET)
        .join("release/warren-ebpf")
}

/// Compiles the kernel programs: a rustup nightly that can build `core`, else Debian's compiler that ships it.
pub(crate) fn kernel_programs() -> anyhow::Result<()> {
    let mut command = if setup::nightly_can_build_core() {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]);
        command
    } else {
        let mut command = Command::new("/usr/bin/cargo");
        command
            .arg("build")
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1");
        command
    };
    run(command
        .args([
            "--release",
            "--quiet",
            "--locked",
            "--package",
            "warren-ebpf",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target().join("bpf"))
        .current_dir(root())
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS)
        .env_remove("RUSTUP_TOOLCHAIN"))
}

fn binaries(more: &[&str]) -> anyhow::Result<()> {
    let packages = BINARIES
        .iter()
        .chain(more)
        .flat_map(|name| ["--package", name]);
    run(cargo()
        .args(["build", "--release", "--locked"])
        .args(packages))
}
