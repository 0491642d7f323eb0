//! This machine as one without cgroup v1 looks, in a mount namespace of its own.

use std::path::Path;
use std::process::Command;

/// Puts the v2 hierarchy where v1's were.
const REMOUNT: &str = "mount --make-rprivate / \
    && umount --lazy --recursive /sys/fs/cgroup \
    && mount -t cgroup2 cgroup2 /sys/fs/cgroup \
    && exec \"$@\"";

/// Whether this machine has cgroup v1 beside v2.
pub(crate) fn is_hybrid() -> bool {
    !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The same command, in such a namespace.
pub(crate) fn without_v1(command: &Command) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped
        .args(["--mount", "sh", "-c", REMOUNT, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}
