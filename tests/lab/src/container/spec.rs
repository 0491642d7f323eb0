//! Specifications handed to the hidden commands.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How to become a program inside a pod or a node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Cgroup to join before anything else.
    pub cgroup: PathBuf,
    /// Process that holds the pod's namespaces; without one, only `netns` is entered.
    pub sandbox: Option<i32>,
    /// Network namespace when there is no sandbox.
    pub netns: PathBuf,
    /// Working directory.
    pub cwd: PathBuf,
    /// User to run as.
    pub uid: Option<u32>,
    /// Group to run as.
    pub gid: Option<u32>,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// What a sandbox sets up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Cgroup of the pod.
    pub cgroup: PathBuf,
    /// Network namespace of the pod.
    pub netns: PathBuf,
    /// Host name inside.
    pub hostname: String,
    /// Mounts inside, in order.
    pub binds: Vec<Bind>,
    /// Where mount points that had to be made are noted, one path a line.
    pub mountpoints: PathBuf,
}

/// One bind mount of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// File or directory on the machine.
    pub source: PathBuf,
    /// Where it appears.
    pub target: PathBuf,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// Private files of a pod.
#[derive(Clone, Debug)]
pub struct PodFiles {
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/resolv.conf`.
    pub resolv: String,
    /// `/etc/hostname`.
    pub hostname: String,
    /// The service account's token.
    pub token: String,
    /// The pod's namespace.
    pub namespace: String,
}

impl PodFiles {
    /// Writes the files below `dir` and returns the mounts that show them.
    pub fn write(&self, dir: &std::path::Path) -> std::io::Result<Vec<Bind>> {
        let account = dir.join("serviceaccount");
        std::fs::create_dir_all(&account)?;
        std::fs::write(account.join("token"), &self.token)?;
        std::fs::write(account.join("namespace"), &self.namespace)?;
        let mut binds = vec![Bind {
            source: account,
            target: "/var/run/secrets/kubernetes.io/serviceaccount".into(),
            read_only: true,
        }];
        for (name, content) in [
            ("hosts", &self.hosts),
            ("resolv.conf", &self.resolv),
            ("hostname", &self.hostname),
        ] {
            let source = dir.join(name);
            std::fs::write(&source, content)?;
            binds.push(Bind {
                source,
                target: format!("/etc/{name}").into(),
                read_only: false,
            });
        }
        Ok(binds)
    }
}
