//! Removing a lab, whole or what a crash left of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::paths::{Paths, ROOT};
use crate::protocol::{Request, call};
use crate::{bpffs, cgroup, netns};

/// Removes the lab `name`: processes, cgroups, pins, namespaces, links, mounts, files.
pub fn remove(name: &str) -> Result<()> {
    let paths = Paths::new(name);
    stop_daemon(&paths);
    let nodes = nodes(&paths);
    if let Ok(lab) = cgroup::lab() {
        cgroup::destroy(&lab, Duration::from_secs(10))?;
    }
    bpffs::clean(&paths, &nodes);
    remove_namespaces(&paths)?;
    unmount_below(&paths.dir());
    remove_mountpoints(&paths.dir().join("mountpoints"));
    if paths.dir().exists() {
        fs::remove_dir_all(paths.dir())
            .with_context(|| format!("cannot remove {}", paths.dir().display()))?;
    }
    // Another lab's directory keeps it; there is none in the end.
    let _ = fs::remove_dir(ROOT);
    Ok(())
}

/// Names of the lab's nodes, also when its own files are gone.
fn nodes(paths: &Paths) -> Vec<String> {
    let places = [Some(paths.dir().join("nodes")), cgroup::lab().ok()];
    let entries = places
        .into_iter()
        .flatten()
        .filter_map(|p| fs::read_dir(p).ok())
        .flatten()
        .flatten();
    entries
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect()
}

/// Asks the daemon to end, and ends it when it does not.
fn stop_daemon(paths: &Paths) {
    let pid = fs::read_to_string(paths.dir().join("daemon.pid"))
        .ok()
        .and_then(|t| t.trim().parse::<i32>().ok());
    let _ = call(&paths.socket(), &Request::Quit);
    let Some(pid) = pid else { return };
    let ours = || {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains("internal-daemon")
    };
    let end = Instant::now() + Duration::from_millis(500);
    while ours() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    let end = Instant::now() + Duration::from_secs(5);
    while ours() && Instant::now() < end {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn remove_namespaces(paths: &Paths) -> Result<()> {
    let names = netns::list(&format!("warren-{}-", paths.name));
    // Links first: a namespace takes its own time to die, and its links with it.
    let nodes = names
        .iter()
        .filter(|n| **n == paths.outside_netns() || n.contains("-node-"));
    std::thread::scope(|scope| {
        for name in nodes {
            scope.spawn(move || remove_links(name));
        }
    });
    names.iter().try_for_each(|name| netns::delete(name))
}

fn remove_links(name: &str) {
    let links = netns::within(name, || {
        Ok(fs::read_to_string("/proc/thread-self/net/dev")?)
    })
    .unwrap_or_default();
    let ours = links
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(n, _)| n.trim().to_owned());
    let script: String = ours
        .filter(|n| n.starts_with("lab") || n.starts_with("node"))
        .map(|n| format!("link del {n}\n"))
        .collect();
    let _ = netns::ip_batch(name, &script);
}

fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for path in mounts.lines().rev().filter_map(|l| l.split(' ').nth(1)) {
        if Path::new(path).starts_with(dir) {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

/// Removes mount points that pods needed on the machine, if they are still empty.
fn remove_mountpoints(note: &Path) {
    let Ok(file) = fs::File::open(note) else {
        return;
    };
    let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
    for path in lines.iter().rev().map(Path::new) {
        let empty = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == 0);
        if fs::remove_dir(path).is_err() && empty {
            let _ = fs::remove_file(path);
        }
    }
}
