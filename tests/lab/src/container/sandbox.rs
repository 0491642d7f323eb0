//! The sandbox: a process that does nothing but hold a pod's namespaces.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{pause, setsid};

use super::{Bind, SandboxSpec};
use crate::cgroup;

const NONE: Option<&str> = None;

/// Sets the namespaces up, says `ready` on standard output, and stays.
pub fn run(spec: &SandboxSpec) -> Result<()> {
    let _ = setsid();
    cgroup::join(&spec.cgroup)?;
    crate::netns::enter(&spec.netns)?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWCGROUP)
        .context("cannot make the pod's namespaces")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("cannot make mounts private")?;
    fs::write("/proc/sys/kernel/hostname", &spec.hostname).context("cannot set the host name")?;
    // Sources live below /run, which is about to be covered.
    let sources = stage(&spec.binds)?;
    let mut noted = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&spec.mountpoints)
        .context("cannot note mount points")?;
    private_run()?;
    private_sys();
    for (bind, (source, target)) in spec.binds.iter().zip(sources) {
        show(bind, &source, &target, &mut noted)?;
    }
    println!("ready");
    loop {
        pause();
    }
}

/// Opens each source, so that it can still be mounted once its path is hidden, and follows links of the
/// target (`/etc/resolv.conf` may be one) while what they point to can be seen.
fn stage(binds: &[Bind]) -> Result<Vec<(File, PathBuf)>> {
    let one = |b: &Bind| {
        let source =
            File::open(&b.source).with_context(|| format!("cannot open {}", b.source.display()))?;
        let target = fs::canonicalize(&b.target).unwrap_or_else(|_| b.target.clone());
        Ok((source, target))
    };
    binds.iter().map(one).collect()
}

/// A fresh `/run` with the machine's empty directories, so that daemons of two pods do not meet there.
fn private_run() -> Result<()> {
    let mut skeleton = Vec::new();
    for entry in fs::read_dir("/run").context("cannot read /run")?.flatten() {
        let hidden = [Some("netns"), Some("warren-lab"), Some("warren")]
            .contains(&entry.file_name().to_str());
        if let Ok(meta) = fs::symlink_metadata(entry.path())
            && meta.is_dir()
            && !hidden
        {
            skeleton.push((entry.path(), meta));
        }
    }
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .context("cannot mount a private /run")?;
    for (path, meta) in skeleton {
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        chown(&path, Some(meta.uid()), Some(meta.gid()))?;
    }
    fs::create_dir_all("/run/sshd")?;
    Ok(())
}

/// `/sys` as seen from the pod's own network and cgroup. Programs that never look there work without.
fn private_sys() {
    if mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), NONE).is_ok() {
        let _ = mount(
            Some("cgroup2"),
            "/sys/fs/cgroup",
            Some("cgroup2"),
            MsFlags::empty(),
            NONE,
        );
    }
}

fn show(bind: &Bind, source: &File, target: &Path, noted: &mut File) -> Result<()> {
    let directory = source.metadata()?.is_dir();
    if !target.exists() {
        make_target(target, directory, noted)
            .with_context(|| format!("cannot make the mount point {}", target.display()))?;
    }
    let fd_path = PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(source)
    ));
    mount(
        Some(&fd_path),
        target,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    )
    .with_context(|| {
        format!(
            "cannot mount {} at {}",
            bind.source.display(),
            target.display()
        )
    })?;
    if bind.read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(NONE, target, NONE, flags, NONE)
            .with_context(|| format!("cannot make {} read-only", target.display()))?;
    }
    Ok(())
}

fn make_target(target: &Path, directory: bool, noted: &mut File) -> Result<()> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    let mut missing: Vec<&Path> = parent.ancestors().take_while(|a| !a.exists()).collect();
    missing.reverse();
    if directory {
        fs::create_dir_all(target)?;
    } else {
        fs::create_dir_all(parent)?;
        File::create(target)?;
    }
    if target.starts_with("/run") || target.starts_with("/var/run") {
        return Ok(());
    }
    for path in missing.into_iter().chain([target]) {
        writeln!(noted, "{}", path.display())?;
    }
    Ok(())
}
