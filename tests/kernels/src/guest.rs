//! The virtual machine's first process.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};

use crate::{PASSED, smoke};

/// Where the guest's cgroup hierarchy is.
const CGROUP: &str = "/sys/fs/cgroup";

/// Mounts what the programs need, tries them, prints the verdict and powers the machine off.
pub(crate) fn init() -> anyhow::Result<()> {
    let result = prepare().and_then(|()| smoke::run(Path::new("/warren-ebpf"), Path::new(CGROUP)));
    match &result {
        Ok(()) => println!("{PASSED}"),
        Err(error) => println!("warren-kernels: failed: {error:#}"),
    }
    nix::unistd::sync();
    nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF).context("power off")?;
    result
}

fn prepare() -> anyhow::Result<()> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("cgroup2", CGROUP),
        ("bpf", "/sys/fs/bpf"),
    ] {
        fs::create_dir_all(at).ok();
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {kind} at {at}"))?;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("warren-kernels: kernel {}", release.trim());
    Ok(())
}
