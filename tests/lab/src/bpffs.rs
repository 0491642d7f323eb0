//! The BPF file system, where the agents pin their programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::paths::Paths;

/// Where it is mounted.
pub const DIR: &str = "/sys/fs/bpf";

/// Mounts it when it is missing and notes that the lab did.
pub fn ensure(paths: &Paths) -> Result<()> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    if is_mounted(&mounts) {
        return Ok(());
    }
    let none: Option<&str> = None;
    mount(Some("bpf"), DIR, Some("bpf"), MsFlags::empty(), none)
        .with_context(|| format!("cannot mount bpf at {DIR}"))?;
    fs::write(paths.dir().join("mounted-bpffs"), "").context("cannot note the mount")
}

/// Removes the pins of every node, and the mount when the lab made it.
pub fn clean(paths: &Paths, nodes: &[String]) {
    let pins = Path::new(DIR).join("warren");
    for node in nodes {
        let _ = fs::remove_dir_all(pins.join(node));
    }
    // It stays when something else has pins there.
    let _ = fs::remove_dir(&pins);
    if paths.dir().join("mounted-bpffs").exists() {
        let _ = nix::mount::umount2(DIR, nix::mount::MntFlags::MNT_DETACH);
    }
}

fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|l| {
        let mut words = l.split(' ');
        words.nth(1) == Some(DIR) && words.next() == Some("bpf")
    })
}
