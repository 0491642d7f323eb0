//! The cluster's own kubectl.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::layout::Layout;
use crate::program;

/// How to call kubectl for one cluster, as its administrator.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// The kubectl `program` for the cluster.
    pub fn new(program: &Path, layout: &Layout) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: layout.kubeconfig(),
            cache: layout.dir().join("kubectl-cache"),
        }
    }

    /// A command to which arguments are to be added.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command.env("KUBECACHEDIR", &self.cache);
        command
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// It fails; the message is kubectl's.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        program::output(self.command().arg("--request-timeout=10s").args(arguments))
    }

    /// Runs one that waits, and has a limit of its own among its arguments.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn patient(&self, arguments: &[&str]) -> Result<String> {
        program::output(self.command().args(arguments))
    }

    /// Applies objects given as YAML.
    ///
    /// # Errors
    /// The API server refuses one.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        program::feed(&mut command, yaml).map(drop)
    }
}
