//! Where a cluster keeps its files, and what its parts are called: one place that knows every name.

use std::fs;
use std::path::{Path, PathBuf};

/// Directory under which every cluster of this machine lives. On disk: containers' file systems are below it.
pub const ROOT: &str = "/var/lib/warren-cluster";

/// The machine that runs the control plane.
pub const CONTROL: &str = "control";

/// Names and paths of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The cluster's name: lower case letters and digits only, so that no name is another's beginning and a `-`.
    pub name: String,
}

impl Layout {
    /// Of the cluster called `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    /// Everything of the cluster.
    pub fn dir(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name)
    }

    /// What it was decided to look like.
    pub fn plan(&self) -> PathBuf {
        self.dir().join("plan.json")
    }

    /// Certificates, keys, and the components' kubeconfigs.
    pub fn pki(&self) -> PathBuf {
        self.dir().join("pki")
    }

    /// The kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// Image archives that every node has from the start.
    pub fn images(&self) -> PathBuf {
        self.dir().join("images")
    }

    /// Logs of all components.
    pub fn logs(&self) -> PathBuf {
        self.dir().join("logs")
    }

    /// Log of one component of a machine.
    pub fn log(&self, machine: &str, component: &str) -> PathBuf {
        self.logs().join(format!("{machine}-{component}.log"))
    }

    /// Private files of a machine.
    pub fn machine(&self, machine: &str) -> PathBuf {
        self.dir().join("machines").join(machine)
    }

    /// What a machine is to do, read by its keeper.
    pub fn specification(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("machine.json")
    }

    /// Locked as long as a machine's keeper lives.
    pub fn alive(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("alive")
    }

    /// What the names of all of the cluster's network namespaces begin with.
    pub fn netns_prefix(&self) -> String {
        format!("wcl-{}-", self.name)
    }

    /// Name of a machine's network namespace.
    pub fn netns(&self, machine: &str) -> String {
        format!("{}{machine}", self.netns_prefix())
    }

    /// This machine's end of the link to the cluster. Interfaces have at most 15 letters.
    pub fn link(&self) -> String {
        format!("wcl-{}", self.name)
    }

    /// The cluster's cgroup below the root of every hierarchy.
    pub fn cgroup(&self) -> PathBuf {
        Path::new("warren-cluster").join(&self.name)
    }
}

/// Names of the clusters that have files on this machine.
pub fn clusters() -> Vec<String> {
    let Ok(entries) = fs::read_dir(ROOT) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// A name for a cluster: it becomes part of interface names.
///
/// # Errors
/// What is allowed.
pub fn cluster_name(word: &str) -> Result<String, String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if word.is_empty() || word.len() > 10 || !word.bytes().all(fine) {
        return Err("use up to 10 lower case letters and digits".into());
    }
    Ok(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_interfaces_and_are_nobody_elses_prefix() {
        assert!(cluster_name("warren").is_ok());
        for bad in ["", "two-words", "Upper", "elevenchars", "a/b"] {
            assert!(cluster_name(bad).is_err(), "{bad}");
        }
        assert!(Layout::new("abcdefghij").link().len() <= 15);
    }
}
