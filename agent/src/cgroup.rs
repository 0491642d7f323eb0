//! Cgroup ids, by which the kernel programs know the tunnel and the kubelet.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The id of a cgroup v2 directory, which is its inode number; 0 where there is no such directory (yet).
pub fn id_of(path: Option<&Path>) -> u64 {
    path.and_then(|p| fs::metadata(p).ok())
        .map_or(0, |m| m.ino())
}

/// The cgroup v2 directory of a process, below the mount that `anchor` lies on.
pub fn of_process(pid: u32, anchor: &Path) -> Option<std::path::PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let relative = unified(&text)?.trim_start_matches('/').to_owned();
    let dir = mount_of(anchor)?.join(relative);
    dir.is_dir().then_some(dir)
}

/// The cgroup of the process that is named `kubelet`, if there is exactly one such process.
pub fn find_kubelet(anchor: &Path) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let named = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim_end() == "kubelet")
    };
    let mut found = pids.filter(named);
    match (found.next(), found.next()) {
        (Some(pid), None) => of_process(pid, anchor),
        _ => None,
    }
}

/// The path in the line of the unified hierarchy (`0::/path`).
fn unified(text: &str) -> Option<&str> {
    text.lines().find_map(|l| l.strip_prefix("0::"))
}

fn mount_of(path: &Path) -> Option<&Path> {
    let device = fs::metadata(path).ok()?.dev();
    path.ancestors()
        .take_while(|p| fs::metadata(p).is_ok_and(|m| m.dev() == device))
        .last()
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
}
