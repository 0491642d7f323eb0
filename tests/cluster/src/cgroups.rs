//! Cgroups of a cluster, `warren-cluster/NAME/MACHINE` in every hierarchy, on hybrid machines and on those with version 2 only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::layout::Layout;

/// How long the last processes of a machine may take to end.
const LEFT: Duration = Duration::from_secs(10);

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Options that mount it once more (`cpu,cpuacct`, `none,name=systemd`); none for version 2.
    pub options: Option<String>,
}

/// The hierarchies of this machine.
///
/// # Errors
/// There is no version 2 hierarchy.
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    let found = parse(&mounts);
    if !found.iter().any(|hierarchy| hierarchy.options.is_none()) {
        bail!(
            "no cgroup v2 hierarchy is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`"
        );
    }
    Ok(found)
}

fn parse(mounts: &str) -> Vec<Hierarchy> {
    const GENERAL: &[&str] = &[
        "rw",
        "ro",
        "nosuid",
        "nodev",
        "noexec",
        "relatime",
        "noatime",
        "xattr",
        "clone_children",
    ];
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, path, kind, options, ..] = words[..] else {
            continue;
        };
        let options = match kind {
            "cgroup2" => None,
            "cgroup" => {
                let named = options
                    .split(',')
                    .filter(|word| !GENERAL.contains(word) && !word.starts_with("release_agent="));
                let own: Vec<&str> = named.collect();
                let prefix = if own.iter().any(|word| word.starts_with("name=")) {
                    "none,"
                } else {
                    ""
                };
                Some(format!("{prefix}{}", own.join(",")))
            }
            _ => continue,
        };
        if !found.iter().any(|other| other.options == options) {
            found.push(Hierarchy {
                path: PathBuf::from(path),
                options,
            });
        }
    }
    found
}

/// Moves the calling process into the machine's cgroup of every hierarchy, made anew: what ran there before the power was cut is gone.
///
/// # Errors
/// A cgroup cannot be made or joined.
pub fn join(layout: &Layout, machine: &str) -> Result<()> {
    let below = layout.cgroup().join(machine);
    let end = Instant::now() + LEFT;
    for hierarchy in hierarchies()? {
        remove_until(&hierarchy.path.join(&below), end)?;
        let mut cgroup = hierarchy.path.clone();
        for part in below.components() {
            let above = cgroup.clone();
            cgroup.push(part);
            make(&above, &cgroup, &hierarchy)?;
        }
        enter(&cgroup)?;
    }
    Ok(())
}

/// Moves the calling process, which has the machine's cgroup as the root of its namespace, one level down (version 2): a cgroup whose
/// controllers its children use has no processes of its own.
///
/// # Errors
/// The cgroup cannot be made or joined.
pub fn settle(layout: &Layout, machine: &str) -> Result<()> {
    for hierarchy in hierarchies()?.iter().filter(|h| h.options.is_none()) {
        let cgroup = hierarchy
            .path
            .join(layout.cgroup())
            .join(machine)
            .join("init.scope");
        fs::create_dir_all(&cgroup).with_context(|| format!("make cgroup {}", cgroup.display()))?;
        enter(&cgroup)?;
    }
    Ok(())
}

/// Moves the calling process into `cgroup`.
///
/// # Errors
/// The kernel refuses.
pub fn enter(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
        .with_context(|| format!("join cgroup {}", cgroup.display()))
}

fn make(above: &Path, cgroup: &Path, hierarchy: &Hierarchy) -> Result<()> {
    let doing = || format!("make cgroup {}", cgroup.display());
    if hierarchy.options.is_none()
        && let Err(error) = enable_controllers(above)
    {
        // A kubelet that needs what is missing will say so; a hybrid machine's has it elsewhere.
        eprintln!("warning: {error:#}");
    }
    match fs::create_dir(cgroup) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(doing);
        }
        _ => {}
    }
    // A cpuset takes nobody before it has been given processors and memory.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if hierarchy.options.is_some() && above.join(file).exists() {
            let value = fs::read(above.join(file)).with_context(doing)?;
            fs::write(cgroup.join(file), value).with_context(doing)?;
        }
    }
    Ok(())
}

/// Lets the cgroups below `cgroup` use every controller it has (version 2; none on hybrid machines).
///
/// # Errors
/// The kernel refuses: processes in `cgroup` itself are the usual reason.
pub fn enable_controllers(cgroup: &Path) -> Result<()> {
    let file = cgroup.join("cgroup.subtree_control");
    let read = |name: &str| fs::read_to_string(cgroup.join(name));
    let (all, on) = (read("cgroup.controllers")?, read("cgroup.subtree_control")?);
    for controller in all.split_whitespace().filter(|name| !on.contains(name)) {
        fs::write(&file, format!("+{controller}")).with_context(|| {
            format!(
                "enable controller {controller} in {}: do processes live in that very cgroup?",
                cgroup.display()
            )
        })?;
    }
    Ok(())
}

/// Ends every process of the cluster and removes its cgroups. Missing is fine.
///
/// # Errors
/// Something is still there at the end of the limit.
pub fn destroy(layout: &Layout, limit: Duration) -> Result<()> {
    let end = Instant::now() + limit;
    let all = hierarchies()?;
    let trees: Vec<PathBuf> = all.iter().map(|h| h.path.join(layout.cgroup())).collect();
    for tree in &trees {
        // Version 2 only; every process of the cluster is in that hierarchy as well.
        let _ = fs::write(tree.join("cgroup.kill"), "1");
    }
    for tree in &trees {
        remove_until(tree, end)?;
        // Another cluster may still be below it.
        let _ = tree.parent().map(fs::remove_dir);
    }
    Ok(())
}

fn remove_until(tree: &Path, end: Instant) -> Result<()> {
    while let Err(error) = remove_tree(tree) {
        if Instant::now() > end {
            bail!(
                "remove cgroup {}: {error}; is one of its processes stuck?",
                tree.display()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn remove_tree(cgroup: &Path) -> io::Result<()> {
    if !cgroup.exists() {
        return Ok(());
    }
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

    fn hierarchy(path: &str, options: Option<&str>) -> Hierarchy {
        Hierarchy {
            path: path.into(),
            options: options.map(str::to_owned),
        }
    }

    #[test]
    fn reads_hybrid_and_pure_machines() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,release_agent=/x,name=systemd 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0\n\
            cgroup2 /elsewhere cgroup2 rw 0 0\n";
        let expected = [
            hierarchy("/sys/fs/cgroup/cpu,cpuacct", Some("cpu,cpuacct")),
            hierarchy("/sys/fs/cgroup/systemd", Some("none,name=systemd")),
            hierarchy("/sys/fs/cgroup/unified", None),
        ];
        assert_eq!(parse(hybrid), expected);
        let pure = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(parse(pure), [hierarchy("/sys/fs/cgroup", None)]);
        assert_eq!(parse("tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"), []);
    }
}
