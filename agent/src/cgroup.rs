//! Cgroups and their ids, by which the kernel programs know the tunnel and the kubelet.
//!
//! `/proc/PID/cgroup` names cgroups from the root of the reader's own cgroup namespace. A container has one of its own, in which
//! the names of others cannot be resolved; so they are read from within the namespace of process 1.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::sched::{CloneFlags, setns};

mod kubelet;
mod pod;

pub use kubelet::find as find_kubelet;
pub use pod::pod_of;

/// The id of a cgroup v2 directory, which is its inode number; 0 where there is no such directory (yet).
pub fn id_of(path: Option<&Path>) -> u64 {
    path.and_then(|p| fs::metadata(p).ok())
        .map_or(0, |m| m.ino())
}

/// The cgroup v2 directory of a process, below the mount that `anchor` lies on.
pub fn of_process(pid: u32, anchor: &Path) -> Option<PathBuf> {
    as_the_host(|| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        directory(&text, anchor)
    })
}

/// Runs `look` on a thread of its own, in the cgroup namespace of process 1 where this process may enter it.
pub fn as_the_host<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    let enter_and_look = || {
        // Without the host's processes, process 1 is in the own namespace, and nothing changes.
        if let Ok(namespace) = File::open("/proc/1/ns/cgroup")
            && let Err(error) = setns(namespace, CloneFlags::CLONE_NEWCGROUP)
        {
            tracing::debug!(%error, "the host's cgroup namespace cannot be entered");
        }
        look()
    };
    std::thread::scope(|scope| match scope.spawn(enter_and_look).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The directory that a `/proc/PID/cgroup` names, below the mount that `anchor` lies on.
fn directory(text: &str, anchor: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    let (root, mount) = mount_of(&mounts, &fs::canonicalize(anchor).ok()?)?;
    let relative = below(&root, Path::new(unified(text)?))?;
    let directory = mount.join(relative);
    directory.is_dir().then_some(directory)
}

/// The path in the line of the unified hierarchy (`0::/path`).
fn unified(text: &str) -> Option<&str> {
    text.lines().find_map(|l| l.strip_prefix("0::"))
}

/// `path` as it is called from `root`; None where it is not below.
fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    let relative = path.strip_prefix(root).ok()?;
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
    relative
        .components()
        .all(plain)
        .then(|| relative.to_owned())
}

/// The cgroup that is mounted, and where, for the innermost mount of the unified hierarchy above `path`.
fn mount_of(mounts: &str, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let one = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (PathBuf::from(fields.next()?), PathBuf::from(fields.next()?));
        (kind.starts_with("cgroup2 ") && path.starts_with(&at)).then_some((root, at))
    };
    // Of two mounts at one place the later one is seen.
    mounts
        .lines()
        .filter_map(one)
        .max_by_key(|(_, at)| at.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unified_hierarchy_counts() {
        assert_eq!(
            unified("4:memory:/m\n0::/kubepods/x\n"),
            Some("/kubepods/x")
        );
        assert_eq!(unified("4:memory:/m\n"), None);
    }

    #[test]
    fn a_missing_cgroup_has_no_id() {
        assert_eq!(id_of(Some(Path::new("/no/such/cgroup"))), 0);
        assert_eq!(id_of(None), 0);
    }

    #[test]
    fn names_are_resolved_from_what_is_mounted() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
                      32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      40 25 0:27 /node-a /node/cgroup rw - cgroup2 cgroup2 rw\n";
        let of = |path: &str| mount_of(mounts, Path::new(path));
        let whole = (PathBuf::from("/"), PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(of("/sys/fs/cgroup/unified/a"), Some(whole));
        let part = (PathBuf::from("/node-a"), PathBuf::from("/node/cgroup"));
        assert_eq!(of("/node/cgroup"), Some(part));
        assert_eq!(of("/sys/fs/cgroup/memory"), None);
        let from = |root: &str, path: &str| below(Path::new(root), Path::new(path));
        assert_eq!(from("/node-a", "/node-a/kubelet"), Some("kubelet".into()));
        assert_eq!(from("/node-a", "/node-b/kubelet"), None);
        assert_eq!(from("/", "/../../outside"), None);
    }

    #[test]
    fn a_process_has_a_cgroup_on_the_mount() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let at = |l: &str| l.split(' ').nth(4).map(PathBuf::from);
        let cgroup2 = mounts.lines().filter(|l| l.contains(" - cgroup2 "));
        for anchor in cgroup2.filter_map(at).take(1) {
            let found = of_process(std::process::id(), &anchor);
            assert!(found.is_none_or(|f| f.starts_with(&anchor)));
        }
    }
}
