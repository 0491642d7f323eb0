//! Entering a pod and becoming a program in it.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, chdir, execvp, setgid, setgroups, setuid};

use super::Entry;
use crate::cgroup;

/// Joins the pod's cgroup and namespaces, then executes the command; returns only on an error.
pub fn run(entry: &Entry) -> Result<Infallible> {
    // The cgroup comes first: sockets belong to the cgroup in which they were made.
    cgroup::join(&entry.cgroup)?;
    match entry.sandbox {
        Some(pid) => enter_sandbox(pid)?,
        None => crate::netns::enter(&entry.netns)?,
    }
    // A shell without a place to be is worse than one at the root.
    if chdir(&entry.cwd).is_err() {
        bail!("workingDir {} does not exist", entry.cwd.display());
    }
    if let Some(gid) = entry.gid {
        setgroups(&[Gid::from_raw(gid)]).context("cannot drop groups")?;
        setgid(Gid::from_raw(gid)).context("cannot change group")?;
    }
    if let Some(uid) = entry.uid {
        setuid(Uid::from_raw(uid)).context("cannot change user")?;
    }
    exec(&entry.argv)
}

fn enter_sandbox(pid: i32) -> Result<()> {
    let spaces = [
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    // All are opened first: after the mount namespace changed, /proc is another one.
    let mut files = Vec::new();
    for (name, flag) in spaces {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        files.push((
            File::open(&path).with_context(|| format!("the pod is gone: no {}", path.display()))?,
            flag,
        ));
    }
    for (file, flag) in files {
        setns(file, flag).context("cannot enter the pod's namespaces")?;
    }
    Ok(())
}

fn exec(argv: &[String]) -> Result<Infallible> {
    let Some(program) = argv.first() else {
        bail!("no command to run")
    };
    let words: Vec<CString> = argv
        .iter()
        .map(|a| CString::new(a.as_str()))
        .collect::<Result<_, _>>()
        .context("a NUL byte in the command")?;
    execvp(&words[0], &words)
        .with_context(|| format!("cannot execute {program}: is it installed on this machine?"))
}
