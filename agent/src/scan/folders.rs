//! What folders of the host say: the names of pods, and where network namespaces are mounted.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where container runtimes mount network namespaces.
const MOUNTS: [&str; 3] = ["/var/run/netns", "/run/netns", "/run/docker/netns"];

/// A pod's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
}

/// What makes a namespace the same: device and inode.
pub type Identity = (u64, u64);

/// The pods of this node by UID, out of the kubelet's log folders. The kubelet makes a pod's folder before its sandbox.
pub fn pods(logs: &Path) -> Result<HashMap<String, Name>, String> {
    let entries = fs::read_dir(logs).map_err(|e| {
        format!(
            "--pod-logs-dir {}: {e}; mount the kubelet's folder of pod logs there",
            logs.display()
        )
    })?;
    let names = entries.flatten().map(|e| e.file_name());
    Ok(names.filter_map(|n| pod(n.to_str()?)).collect())
}

/// `NAMESPACE_NAME_UID`; no name in Kubernetes has an underscore.
fn pod(folder: &str) -> Option<(String, Name)> {
    let parts: Vec<&str> = folder.split('_').collect();
    let [namespace, name, uid] = parts[..] else {
        return None;
    };
    let name = Name {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    (!parts.contains(&"")).then(|| (uid.to_owned(), name))
}

/// The identity of what is at `path`.
pub fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// Mounted network namespaces. Such a path stays as long as the pod; that of a process only as long as the process.
pub struct Namespaces(HashMap<Identity, PathBuf>);

impl Namespaces {
    /// All that the runtimes mount.
    pub fn mounted() -> Self {
        Self::below(&MOUNTS.map(Path::new))
    }

    fn below(folders: &[&Path]) -> Self {
        let entries = folders
            .iter()
            .filter_map(|f| fs::read_dir(f).ok())
            .flatten();
        let paths = entries.flatten().map(|e| e.path());
        let mut all = HashMap::new();
        for path in paths {
            if let Some(identity) = identity(&path) {
                all.entry(identity).or_insert(path);
            }
        }
        Self(all)
    }

    /// Where this one is mounted.
    pub fn path(&self, of: Identity) -> Option<PathBuf> {
        self.0.get(&of).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_the_log_folders() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [
            "shop_web-0_uid-1",
            "kube-system_etcd-a_0123abcd",
            "lost+found",
            "a_b",
            "_x_y",
            "a_b_c_d",
        ] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let pods = pods(dir.path()).unwrap();
        assert_eq!(pods.len(), 2);
        let web = Name {
            namespace: "shop".into(),
            name: "web-0".into(),
        };
        assert_eq!(pods["uid-1"], web);
        assert_eq!(pods["0123abcd"].name, "etcd-a");
    }

    #[test]
    fn a_missing_folder_is_told_with_its_setting() {
        let error = pods(Path::new("/no/such/folder")).unwrap_err();
        assert!(error.contains("--pod-logs-dir /no/such/folder"), "{error}");
    }

    #[test]
    fn the_first_mount_of_a_namespace_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for folder in [&a, &b] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(a.join("cni-1"), "").unwrap();
        fs::hard_link(a.join("cni-1"), b.join("same")).unwrap();
        let namespaces = Namespaces::below(&[&dir.path().join("none"), &a, &b]);
        let it = identity(&b.join("same")).unwrap();
        assert_eq!(namespaces.path(it), Some(a.join("cni-1")));
        assert_eq!(namespaces.path((0, 0)), None);
    }
}
