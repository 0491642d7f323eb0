//! The cgroup v2 tree of a lab: `warren-lab/<node>/kubepods/<pod>` and `warren-lab/<node>/system/<component>`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::paths::pod_dir;

/// Root of the cgroup v2 hierarchy, on hybrid and on pure v2 machines.
pub fn root() -> Result<PathBuf> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    find_root(&mounts).context("no cgroup v2 hierarchy is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`")
}

fn find_root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let path = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(path))
    })
}

/// Root of every lab's subtree.
pub fn lab() -> Result<PathBuf> {
    Ok(root()?.join("warren-lab"))
}

/// Subtree of a node: where its agent attaches.
pub fn node(node: &str) -> Result<PathBuf> {
    Ok(lab()?.join(node))
}

/// Cgroup of a system component of a node (agent, ztunnel, control, kubelet).
pub fn system(node_name: &str, component: &str) -> Result<PathBuf> {
    Ok(node(node_name)?.join("system").join(component))
}

/// Cgroup of a pod.
pub fn pod(node_name: &str, namespace: &str, pod: &str) -> Result<PathBuf> {
    Ok(node(node_name)?
        .join("kubepods")
        .join(pod_dir(namespace, pod)))
}

/// Makes a cgroup that may be there.
pub fn create(cgroup: &Path) -> Result<()> {
    fs::create_dir_all(cgroup).with_context(|| format!("cannot create cgroup {}", cgroup.display()))
}

/// Moves the calling process into `cgroup`. It does not make it: one that is gone went with its lab.
pub fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
        .with_context(|| format!("cannot join cgroup {}", cgroup.display()))
}

/// Processes in `cgroup` itself.
pub fn processes(cgroup: &Path) -> Vec<i32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

/// Kills every process below `cgroup` and removes the subtree. Missing is fine.
pub fn destroy(cgroup: &Path, limit: Duration) -> Result<()> {
    if !cgroup.exists() {
        return Ok(());
    }
    let end = Instant::now() + limit;
    loop {
        // Each time: a process that a dying daemon had just started may join it late.
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        match remove_tree(cgroup) {
            Ok(()) => return Ok(()),
            Err(e) if Instant::now() > end => {
                bail!(
                    "cannot remove cgroup {}: {e}; is one of its processes stuck?",
                    cgroup.display()
                )
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cgroup)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_v2_root_on_hybrid_and_pure_machines() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            find_root(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            find_root("none /sys/fs/cgroup cgroup2 rw 0 0\n"),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(find_root("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"), None);
    }
}
