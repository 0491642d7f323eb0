//! A machine of the cluster, which is a set of namespaces:
//!
//! ```text
//! keeper: joins the cgroups, makes the namespaces, holds the lock `alive`
//!   └─ process 1: mounts, sysctls; buries orphans
//!        └─ supervisor: one thread a component, which starts it again when it ends
//! ```
//!
//! Whoever kills the keeper pulls the plug: everything else goes with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::wait;

pub mod init;
pub mod keeper;
pub mod mounts;
pub mod supervisor;

/// What a machine is made of; its keeper reads it from a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the machine, also its host name.
    pub name: String,
    /// Whether it has a root file system and kernel file systems like a node's.
    pub node: bool,
    /// Folders that come first in `PATH`.
    pub path: Vec<PathBuf>,
    /// What runs there.
    pub components: Vec<Component>,
}

/// A program that runs as long as its machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Component {
    /// Its name, also in log and cgroup.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Commands that must succeed, one after the other, before it starts. Each is tried until it does.
    pub first: Vec<Vec<String>>,
}

impl Machine {
    /// Writes the specification and starts the keeper, which outlives the caller.
    ///
    /// # Errors
    /// A file cannot be written, or the program cannot be started.
    pub fn start(&self) -> Result<()> {
        let layout = self.layout();
        let path = layout.specification(&self.name);
        fs::create_dir_all(layout.machine(&self.name))?;
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| path.display().to_string())?;
        power_on(&layout, &self.name)
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.cluster)
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

/// Starts the keeper of a machine that has a specification.
///
/// # Errors
/// The program cannot be started.
pub fn power_on(layout: &Layout, machine: &str) -> Result<()> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(layout.log(machine, "machine"))?;
    Command::new(std::env::current_exe()?)
        .arg("internal-keeper")
        .arg(layout.specification(machine))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .process_group(0)
        .spawn()
        .with_context(|| format!("start machine {machine}"))?;
    Ok(())
}

/// Ends everything that runs on a machine at once, as a power cut would. Its disk stays.
///
/// # Errors
/// It is off, or does not end in time.
pub fn power_off(layout: &Layout, machine: &str) -> Result<()> {
    let process = keeper::process_one(layout, machine)?;
    // With process 1 everything in its namespace goes, and then its keeper.
    kill(Pid::from_raw(process), Signal::SIGKILL).context("end process 1")?;
    let limit = Duration::from_secs(20);
    wait::until("the machine's end", limit, &[], || {
        Ok(!is_alive(layout, machine))
    })
}

/// Whether a machine's keeper lives.
pub fn is_alive(layout: &Layout, machine: &str) -> bool {
    // Not there, or nobody holds it: dead.
    File::open(layout.alive(machine)).is_ok_and(|file| file.try_lock().is_err())
}

/// Names of the machines that have files.
pub fn machines(layout: &Layout) -> Vec<String> {
    let Ok(entries) = fs::read_dir(layout.dir().join("machines")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
