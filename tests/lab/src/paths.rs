//! Where a lab keeps its files: one place that knows every path.

use std::path::{Path, PathBuf};

/// Directory under which every lab of this machine lives.
pub const ROOT: &str = "/run/warren-lab";

/// Where `ip netns` looks for network namespaces.
pub const NETNS_DIR: &str = "/run/netns";

/// Paths of one lab.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The lab's name.
    pub name: String,
}

impl Paths {
    /// Paths of the lab called `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// State directory of the lab.
    pub fn dir(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name)
    }

    /// Directory of YAML files that plays the API server.
    pub fn api(&self) -> PathBuf {
        self.dir().join("api")
    }

    /// Where files are written before they are renamed into [`Self::api`].
    pub fn scratch(&self) -> PathBuf {
        self.dir().join("scratch")
    }

    /// Control socket of the daemon.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("daemon.sock")
    }

    /// Log of the daemon.
    pub fn daemon_log(&self) -> PathBuf {
        self.dir().join("daemon.log")
    }

    /// Public keys that verify the lab's tokens.
    pub fn jwks(&self) -> PathBuf {
        self.dir().join("jwks.json")
    }

    /// Private key that signs the lab's tokens (PKCS#8, DER).
    pub fn token_key(&self) -> PathBuf {
        self.dir().join("token-key.der")
    }

    /// Directory of one node.
    pub fn node(&self, node: &str) -> PathBuf {
        self.dir().join("nodes").join(node)
    }

    /// The `--run-dir` of the mesh's processes on a node.
    pub fn run(&self, node: &str) -> PathBuf {
        self.node(node).join("run")
    }

    /// The agent's `--state-dir` on a node: what a restart of the node does not take.
    pub fn node_state(&self, node: &str) -> PathBuf {
        self.node(node).join("state")
    }

    /// Where the agent on a node looks for a container runtime. The lab has none; a test may put one there.
    pub fn cri_socket(&self, node: &str) -> PathBuf {
        self.node(node).join("cri.sock")
    }

    /// Log of a mesh process on a node.
    pub fn component_log(&self, node: &str, component: &str) -> PathBuf {
        self.node(node).join("log").join(format!("{component}.log"))
    }

    /// Projected token of a mesh process on a node.
    pub fn token(&self, node: &str, component: &str) -> PathBuf {
        self.node(node).join("tokens").join(component)
    }

    /// Private files and logs of a pod.
    pub fn pod(&self, node: &str, namespace: &str, pod: &str) -> PathBuf {
        self.node(node).join("pods").join(pod_dir(namespace, pod))
    }

    /// Log of a container.
    pub fn container_log(
        &self,
        node: &str,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> PathBuf {
        self.pod(node, namespace, pod)
            .join(format!("{container}.log"))
    }

    /// Name of a node's network namespace.
    pub fn node_netns(&self, node: &str) -> String {
        format!("warren-{}-node-{node}", self.name)
    }

    /// Name of a pod's network namespace.
    pub fn pod_netns(&self, namespace: &str, pod: &str) -> String {
        format!("warren-{}-{namespace}-{pod}", self.name)
    }

    /// Name of the network namespace that holds the wire between the nodes. It has an address
    /// there and stands for a client outside the cluster.
    pub fn outside_netns(&self) -> String {
        format!("warren-{}-outside", self.name)
    }
}

/// Path of a named network namespace.
pub fn netns_path(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Directory name of a pod, unambiguous because no Kubernetes name contains `_`.
pub fn pod_dir(namespace: &str, pod: &str) -> String {
    format!("{namespace}_{pod}")
}

/// Names of the labs that have left a state directory on this machine.
pub fn labs() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(ROOT) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
