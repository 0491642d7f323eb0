//! The cgroup v2 hierarchy and the BPF file system, found in the mount table.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use super::Finding;

const CGROUP: &str = "cgroup v2";
const BPFFS: &str = "bpffs";
const BPFFS_DIR: &str = "/sys/fs/bpf";

/// Where programs can be attached: `given`, else the first cgroup v2 mount.
pub fn hierarchy(given: Option<&Path>) -> Finding {
    if let Some(path) = given {
        return match statfs(path) {
            Ok(fs) if fs.filesystem_type() == CGROUP2_SUPER_MAGIC => {
                Finding::pass(CGROUP, path.display().to_string())
            }
            Ok(_) => Finding::fail(
                CGROUP,
                format!("{} is on another file system", path.display()),
                "give --cgroup a directory of the cgroup v2 hierarchy; `findmnt -t cgroup2` shows where it is",
            ),
            Err(e) => Finding::fail(
                CGROUP,
                format!("{}: {e}", path.display()),
                "give --cgroup an existing directory",
            ),
        };
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    judge(&mounts)
}

pub fn bpffs() -> Finding {
    match statfs(BPFFS_DIR) {
        Ok(fs) if fs.filesystem_type() == BPF_FS_MAGIC => Finding::pass(BPFFS, BPFFS_DIR),
        Ok(_) => Finding::fail(
            BPFFS,
            format!("{BPFFS_DIR} is no BPF file system"),
            format!("mount -t bpf bpf {BPFFS_DIR}"),
        ),
        Err(e) => Finding::fail(
            BPFFS,
            format!("{BPFFS_DIR}: {e}"),
            "mount sysfs, then the BPF file system on it",
        ),
    }
}

fn judge(mountinfo: &str) -> Finding {
    let v2 = mounts_of(mountinfo, "cgroup2");
    let hybrid = !mounts_of(mountinfo, "cgroup").is_empty();
    match v2.first() {
        None if hybrid => Finding::fail(
            CGROUP,
            "only cgroup v1 is mounted",
            "boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none /sys/fs/cgroup/unified",
        ),
        None => Finding::fail(
            CGROUP,
            "no cgroup v2 mount",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
        Some(path) if hybrid => Finding::pass(
            CGROUP,
            format!("hybrid: start the agent with --cgroup {}", path.display()),
        ),
        Some(path) => Finding::pass(CGROUP, path.display().to_string()),
    }
}

/// Mount points of a type. A line of mountinfo (proc_pid_mountinfo(5)): five fields, of which the last is the mount point,
/// options, any number of optional fields, `-`, and the type.
fn mounts_of(mountinfo: &str, kind: &str) -> Vec<PathBuf> {
    let one = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == kind).then(|| before.split(' ').nth(4).map(PathBuf::from))?
    };
    mountinfo.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    const V1: &str = "30 25 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";
    const UNIFIED: &str =
        "31 25 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n";
    const PURE: &str = "31 25 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    #[test]
    fn finds_pure_hybrid_and_old_hierarchies() {
        let pure = judge(PURE);
        assert_eq!(
            (pure.result, pure.found.as_str()),
            (Verdict::Pass, "/sys/fs/cgroup")
        );
        let hybrid = judge(&format!("{V1}{UNIFIED}"));
        assert_eq!(hybrid.result, Verdict::Pass);
        assert!(
            hybrid.found.contains("--cgroup /sys/fs/cgroup/unified"),
            "{hybrid:?}"
        );
        assert_eq!(judge(V1).result, Verdict::Fail);
        assert_eq!(judge("").result, Verdict::Fail);
    }

    #[test]
    fn a_given_path_is_checked() {
        assert_eq!(hierarchy(Some(Path::new("/proc"))).result, Verdict::Fail);
        assert_eq!(hierarchy(Some(Path::new("/nowhere"))).result, Verdict::Fail);
    }
}
