//! Removing a cluster, or whatever a crash left of it.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};

use crate::layout::{Layout, ROOT};
use crate::machine::{is_alive, machines};
use crate::{cgroups, network, wait};

const LIMIT: Duration = Duration::from_secs(30);

/// Ends all processes; removes cgroups, network, mounts and files. Missing is fine.
///
/// # Errors
/// Something cannot be removed; a second call goes on where this one stopped.
pub fn remove(layout: &Layout) -> Result<()> {
    cgroups::destroy(layout, LIMIT)?;
    let gone = || {
        Ok(!machines(layout)
            .iter()
            .any(|machine| is_alive(layout, machine)))
    };
    wait::until("the machines' ends", LIMIT, &[], gone)?;
    network::destroy(layout)?;
    unmount(layout)?;
    remove_files(layout)
}

/// What is left of a cluster on this machine, for people.
pub fn remains(layout: &Layout) -> Vec<String> {
    let mut found: Vec<String> = network::namespaces(layout)
        .into_iter()
        .map(|name| format!("network namespace {name}"))
        .collect();
    if layout.dir().exists() {
        found.push(layout.dir().display().to_string());
    }
    for hierarchy in cgroups::hierarchies().unwrap_or_default() {
        let cgroup = hierarchy.path.join(layout.cgroup());
        if cgroup.exists() {
            found.push(format!("cgroup {}", cgroup.display()));
        }
    }
    let link = layout.link();
    if std::path::Path::new("/sys/class/net").join(&link).exists() {
        found.push(format!("interface {link}"));
    }
    found
}

/// All mounts of a cluster are in its machines' namespaces and go with them. One that somebody made in this namespace would make the
/// removal of files below it dangerous.
fn unmount(layout: &Layout) -> Result<()> {
    let dir = layout.dir().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut below: Vec<&str> = below
        .filter(|path| {
            path.strip_prefix(&dir)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .collect();
    below.reverse();
    for path in below {
        umount2(path, MntFlags::MNT_DETACH).with_context(|| format!("unmount {path}"))?;
    }
    Ok(())
}

fn remove_files(layout: &Layout) -> Result<()> {
    match fs::remove_dir_all(layout.dir()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", layout.dir().display()));
        }
        _ => {}
    }
    // Other clusters may be there.
    let _ = fs::remove_dir(ROOT);
    Ok(())
}
