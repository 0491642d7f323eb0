//! `setup`: installs what the machine lacks; does nothing where nothing is missing.

use std::process::{Command, ExitCode};

use crate::packages;
use crate::run::{cargo, run, succeeds};

mod go;

const LLVM: &str = "/usr/lib/llvm-22";

/// What the lab's own networking, its scenarios and the benchmark run.
const PROGRAMS: &[&str] = &[
    "bpftool",
    "curl",
    "haproxy",
    "iperf3",
    "iproute2",
    "iptables",
    "mount",
    "netcat-openbsd",
    "nftables",
    "nghttp2-client",
    "nghttp2-server",
    "openssh-client",
    "openssh-server",
    "openssl",
    "postgresql",
    "procps",
    "python3",
    "python3-grpcio",
    "redis-server",
    "socat",
    "tcpdump",
    "util-linux",
    "wrk",
];
/// Builds C parts of crates.
const BUILD: &[&str] = &["cmake", "gcc", "g++", "make", "libc6-dev"];
/// Builds bpf-linker.
const LINKER: &[&str] = &["llvm-22-dev", "clang-22", "libzstd-dev", "zlib1g-dev"];
/// A Rust compiler that ships `core` for the kernel's virtual machine.
const KERNEL_RUST: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// What the test cluster's nodes run, what its workloads' image is made of, and what its runc is linked with.
const CLUSTER: &[&str] = &["busybox-static", "libseccomp-dev", "pkg-config"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what `cargo xtask kernels` needs (qemu)
    #[arg(long)]
    kernels: bool,
}

/// Installs everything that a command may need.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    all()?;
    cluster()?;
    if args.kernels {
        kernels()?;
    }
    println!("setup: this machine has everything");
    Ok(ExitCode::SUCCESS)
}

/// What building and testing need.
pub(crate) fn all() -> anyhow::Result<()> {
    packages::install(&packages::missing(PROGRAMS)?)?;
    compilers()
}

/// What building needs.
pub(crate) fn compilers() -> anyhow::Result<()> {
    let need_linker = !packages::has("bpf-linker");
    let mut wanted = BUILD.to_vec();
    if !nightly_can_build_core() {
        wanted.extend(KERNEL_RUST);
    }
    if need_linker {
        wanted.extend(LINKER);
    }
    packages::install(&packages::missing(&wanted)?)?;
    if need_linker {
        install_linker()?;
    }
    Ok(())
}

/// What the test cluster needs besides.
pub(crate) fn cluster() -> anyhow::Result<()> {
    packages::install(&packages::missing(&[BUILD, PROGRAMS, CLUSTER].concat())?)?;
    go::install()
}

/// What booting other kernels needs.
pub(crate) fn kernels() -> anyhow::Result<()> {
    packages::install(&packages::missing(&["qemu-system-x86", "cpio"])?)
}

/// Whether a rustup nightly with the standard library's source is installed.
pub(crate) fn nightly_can_build_core() -> bool {
    let output = Command::new("rustup")
        .args(["+nightly", "which", "rustc"])
        .output();
    let Ok(output) = output else { return false };
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Some(sysroot) = std::path::Path::new(&path).ancestors().nth(2) else {
        return false;
    };
    output.status.success()
        && sysroot
            .join("lib/rustlib/src/rust/library/Cargo.lock")
            .exists()
}

fn install_linker() -> anyhow::Result<()> {
    println!("setup: building bpf-linker");
    let path = format!("{LLVM}/bin:{}", std::env::var("PATH").unwrap_or_default());
    run(cargo()
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--quiet",
            "--no-default-features",
            "--features",
            "llvm-22",
        ])
        .env("LLVM_PREFIX", LLVM)
        .env("PATH", path))?;
    anyhow::ensure!(
        succeeds(Command::new("bpf-linker").arg("--version")),
        "bpf-linker was installed but cannot be run: put cargo's bin folder on PATH"
    );
    Ok(())
}
