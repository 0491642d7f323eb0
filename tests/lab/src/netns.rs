//! Named network namespaces, compatible with `ip netns`, and running code inside one.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::paths::{NETNS_DIR, netns_path};

/// Makes the directory of named namespaces a shared mount, as `ip netns` does. Idempotent.
pub fn prepare() -> Result<()> {
    fs::create_dir_all(NETNS_DIR).with_context(|| format!("cannot create {NETNS_DIR}"))?;
    let none: Option<&str> = None;
    if mount(
        none,
        NETNS_DIR,
        none,
        MsFlags::MS_SHARED | MsFlags::MS_REC,
        none,
    )
    .is_err()
    {
        mount(
            Some(NETNS_DIR),
            NETNS_DIR,
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        )
        .with_context(|| format!("cannot bind {NETNS_DIR} on itself"))?;
        mount(
            none,
            NETNS_DIR,
            none,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            none,
        )
        .with_context(|| format!("cannot share {NETNS_DIR}"))?;
    }
    Ok(())
}

/// Creates the namespace `name` with the sysctls that every lab namespace wants.
pub fn create(name: &str, forwarding: bool) -> Result<()> {
    let path = netns_path(name);
    File::create_new(&path).with_context(|| {
        format!(
            "cannot create {}: does the namespace exist?",
            path.display()
        )
    })?;
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let none: Option<&str> = None;
        mount(
            Some("/proc/thread-self/ns/net"),
            &path,
            none,
            MsFlags::MS_BIND,
            none,
        )
        .with_context(|| format!("cannot bind the namespace at {}", path.display()))?;
        sysctls(forwarding);
        Ok(())
    })
}

/// Removes the namespace `name`. Missing is fine.
pub fn delete(name: &str) -> Result<()> {
    let path = netns_path(name);
    if !path.exists() {
        return Ok(());
    }
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Names of the existing namespaces that begin with `prefix`.
pub fn list(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    names.filter(|n| n.starts_with(prefix)).collect()
}

/// Moves the calling thread into the network namespace at `path`.
pub fn enter(path: &Path) -> Result<()> {
    let file =
        File::open(path).with_context(|| format!("no network namespace at {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot enter {}", path.display()))
}

/// Runs `work` on a thread of its own inside the namespace `name`; children started there are in it too.
pub fn within<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = netns_path(name);
    on_thread(move || {
        enter(&path)?;
        work()
    })
}

/// Runs an `ip -batch` script inside the namespace `name`.
pub fn ip_batch(name: &str, script: &str) -> Result<()> {
    let script = script.to_owned();
    let shown = name.to_owned();
    within(name, move || {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]);
        crate::process::feed(command, script.as_bytes())
            .with_context(|| format!("ip -batch in {shown}:\n{script}"))
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|s| match s.spawn(work).join() {
        Ok(result) => result,
        Err(_) => anyhow::bail!("a thread inside a network namespace panicked"),
    })
}

fn sysctls(forwarding: bool) {
    let mut all = vec![
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
        ("ipv4/ping_group_range", "0 2147483647"),
        ("ipv4/ip_unprivileged_port_start", "0"),
    ];
    if forwarding {
        all.extend([
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ]);
    }
    for (key, value) in all {
        // A kernel without IPv6 lacks some of these; what depends on them fails later, by name.
        let _ = fs::write(format!("/proc/sys/net/{key}"), value);
    }
}
