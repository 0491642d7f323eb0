//! Which cgroup is the kubelet's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{as_the_host, directory, mount_of, pod_of};

/// Where a service manager puts the kubelet, below the mount.
const UNITS: [&str; 2] = [
    "system.slice/kubelet.service",
    "kubelet.slice/kubelet.service",
];

/// The cgroup of the one process named `kubelet` that is in the network namespace `host` and in no pod; else that of the
/// service of that name.
///
/// # Errors
/// Why it is not known, and the next step.
pub fn find(anchor: &Path, host: &Path) -> Result<PathBuf, String> {
    as_the_host(|| {
        let found: BTreeSet<PathBuf> = running(anchor, host).collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(a), Some(b)) => Err(format!(
                "processes named `kubelet` are in {} and {}; set --kubelet-cgroup",
                a.display(),
                b.display()
            )),
            (None, _) => service(anchor).ok_or_else(|| {
                "no process named `kubelet` is seen (does the agent's pod have `hostPID: true` and CAP_SYS_PTRACE?), and there is no kubelet.service; set --kubelet-cgroup to the cgroup of the process that probes pods".to_owned()
            }),
        }
    })
}

fn running(anchor: &Path, host: &Path) -> impl Iterator<Item = PathBuf> {
    let host = namespace(host);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let process = processes.map(|e| e.path()).filter(|p| {
        fs::read_to_string(p.join("comm")).is_ok_and(|name| name.trim_end() == "kubelet")
    });
    process.filter_map(move |p| {
        let text = fs::read_to_string(p.join("cgroup")).ok()?;
        let is_ours = host.is_some() && namespace(&p.join("ns/net")) == host;
        (is_ours && pod_of(&text).is_none())
            .then(|| directory(&text, anchor))
            .flatten()
    })
}

fn service(anchor: &Path) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").ok()?;
    let (_, mount) = mount_of(&mounts, &fs::canonicalize(anchor).ok()?)?;
    UNITS
        .map(|unit| mount.join(unit))
        .into_iter()
        .find(|u| u.is_dir())
}

fn namespace(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let nowhere = tempfile::tempdir().unwrap();
        let error = find(nowhere.path(), Path::new("/proc/self/ns/none")).unwrap_err();
        assert!(error.contains("--kubelet-cgroup"), "{error}");
    }
}
