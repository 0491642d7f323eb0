//! A machine's own view of the file system. Everything of a node is at the path where every Kubernetes node has it, and nothing of it is
//! seen outside.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use super::Machine;
use crate::cgroups::{Hierarchy, hierarchies};
use crate::layout::Layout;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Files of the kernel that a kubelet insists on writing, with what it writes. It sees these values; the machine keeps its own.
const PRETENDED: &[(&str, &str)] = &[
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// Mounts everything.
///
/// # Errors
/// The kernel refuses a mount.
pub fn make(machine: &Machine, layout: &Layout) -> Result<()> {
    propagation(MsFlags::MS_PRIVATE)?;
    let hierarchies = hierarchies()?;
    filesystem("proc", "/proc", "")?;
    // Shows the interfaces of the machine's own network.
    filesystem("sysfs", "/sys", "")?;
    mount_cgroups(&hierarchies)?;
    if machine.node {
        kernel_filesystems()?;
        let own = layout.machine(&machine.name);
        pretend(&own)?;
        folders(machine, &own, layout)?;
    }
    // Volumes that ask for it (`mountPropagation: Bidirectional`) spread on the node only.
    propagation(MsFlags::MS_SHARED)
}

/// Where the version 2 hierarchy is inside a machine.
///
/// # Errors
/// There is none.
pub fn unified() -> Result<PathBuf> {
    let root = Path::new(CGROUPS);
    Ok(if pure(&hierarchies()?) {
        root.to_owned()
    } else {
        root.join("unified")
    })
}

fn pure(hierarchies: &[Hierarchy]) -> bool {
    hierarchies.iter().all(|h| h.options.is_none())
}

fn mount_cgroups(hierarchies: &[Hierarchy]) -> Result<()> {
    if pure(hierarchies) {
        return filesystem("cgroup2", CGROUPS, "");
    }
    let root = Path::new(CGROUPS);
    filesystem("tmpfs", CGROUPS, "mode=755")?;
    for hierarchy in hierarchies {
        let Some(options) = &hierarchy.options else {
            filesystem("cgroup2", &folder(&root.join("unified"))?, "")?;
            continue;
        };
        let name = options.trim_start_matches("none,name=");
        filesystem("cgroup", &folder(&root.join(name))?, options)?;
        for controller in name.split(',').filter(|controller| *controller != name) {
            symlink(name, root.join(controller))?;
        }
    }
    Ok(())
}

fn kernel_filesystems() -> Result<()> {
    filesystem("bpf", "/sys/fs/bpf", "mode=700")?;
    for (kind, path) in [
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
    ] {
        if Path::new(path).exists() {
            // Not every kernel has them, and nobody depends on them.
            let _ = filesystem(kind, path, "");
        }
    }
    Ok(())
}

fn pretend(own: &Path) -> Result<()> {
    for (path, value) in PRETENDED {
        let file = own.join("sysctl").join(path.replace('/', "_"));
        folder(&own.join("sysctl"))?;
        fs::write(&file, format!("{value}\n"))?;
        bind(&file, path)?;
    }
    Ok(())
}

/// Folders of the node's own in place of the machine's. What the node's programs need of the machine's is seen at its place all the same.
fn folders(machine: &Machine, own: &Path, layout: &Layout) -> Result<()> {
    filesystem("tmpfs", "/run", "mode=755")?;
    folder(Path::new("/run/netns"))?;
    folder(Path::new("/run/lock"))?;
    let etc = |part: &str| folder(&own.join(part));
    let (upper, work) = (etc("etc")?, etc("etc.work")?);
    let options = format!("lowerdir=/etc,upperdir={upper},workdir={work}");
    filesystem("overlay", "/etc", &options)
        .context("the file system below /var/lib must be one that overlayfs can write to")?;
    let mut needed = machine.path.clone();
    needed.push(layout.dir());
    needed.extend(std::env::current_exe()?.parent().map(Path::to_path_buf));
    for target in ["/opt", "/var/log", "/var/lib"] {
        let replacement = own.join(target.trim_start_matches('/').replace('/', "-"));
        folder(&replacement)?;
        for path in &needed {
            if let Ok(below) = path.strip_prefix(target) {
                bind(path, &folder(&replacement.join(below))?)?;
            }
        }
        bind(&replacement, target)?;
    }
    Ok(())
}

fn folder(path: &Path) -> Result<String> {
    fs::create_dir_all(path).with_context(|| path.display().to_string())?;
    Ok(path.to_string_lossy().into_owned())
}

fn filesystem(kind: &str, target: &str, options: &str) -> Result<()> {
    mount(
        Some(kind),
        target,
        Some(kind),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| format!("mount {kind} ({options}) at {target}"))
}

fn bind(source: &Path, target: &str) -> Result<()> {
    let none: Option<&str> = None;
    mount(
        Some(source),
        target,
        none,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        none,
    )
    .with_context(|| format!("bind {} at {target}", source.display()))
}

fn propagation(kind: MsFlags) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | kind, none).context("change how mounts propagate")
}
