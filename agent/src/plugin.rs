//! `warren-cni` on this node: the program beside the other CNI plugins, and its entry as the last one of the network that the
//! runtime uses. Both appear whole or not at all, are put back when somebody else's installer rewrites them, and are taken away
//! so that the files are as they were.
//!
//! ```text
//! --cni-plugin --copy--> CNI bin dir     first file of the CNI conf dir <--entry, restored by-- keep (inotify, every 5 s)
//!                                        FILE.warren-saved: what it was before
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::settings::{CniCommand, Settings};

pub mod chain;
mod error;
mod files;
mod folder;
mod keep;

#[cfg(test)]
mod tests;

pub use chain::NAME;
pub use error::PluginError;
pub use keep::keep;

/// What was done to the node's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The program was copied, or removed.
    pub program: bool,
    /// These configuration files were changed.
    pub networks: Vec<PathBuf>,
}

impl Done {
    /// For a person.
    pub fn in_words(&self, command: CniCommand) -> String {
        let verb = match command {
            CniCommand::Install => "wrote",
            CniCommand::Uninstall => "restored",
        };
        let program = self.program.then(|| match command {
            CniCommand::Install => format!("copied {NAME}"),
            CniCommand::Uninstall => format!("removed {NAME}"),
        });
        let networks = self
            .networks
            .iter()
            .map(|p| format!("{verb} {}", p.display()));
        let all: Vec<String> = program.into_iter().chain(networks).collect();
        if all.is_empty() {
            "nothing to do".into()
        } else {
            all.join("\n")
        }
    }

    /// Whether anything had to be done.
    pub fn any(&self) -> bool {
        self.program || !self.networks.is_empty()
    }
}

/// Where the plugin is, and where it belongs.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The program to install.
    source: PathBuf,
    /// The host's folder of CNI programs.
    bin_dir: PathBuf,
    /// The host's folder of CNI networks.
    conf_dir: PathBuf,
    /// Our entry in a network.
    entry: Value,
    /// Folder of the lock and of the word that the plugin is not wanted any more.
    run_dir: PathBuf,
    /// The same word, for this process.
    unwanted_here: Arc<AtomicBool>,
}

impl Plugin {
    /// The plugin as the settings want it; None where they do not.
    pub fn new(settings: &Settings) -> Option<Self> {
        let (bin_dir, conf_dir) = (
            settings.cni_bin_dir.clone()?,
            settings.cni_conf_dir.clone()?,
        );
        let socket = settings.cni_socket.clone();
        let entry = json!({
            "type": NAME,
            "socket": socket.unwrap_or_else(|| settings.run_dir.join("cni.sock")),
            "timeoutSeconds": settings.add_wait.as_secs() + 11,
            "exemptNamespaces": settings.exempt_namespaces,
        });
        Some(Self {
            source: settings.cni_source(),
            bin_dir,
            conf_dir,
            entry,
            run_dir: settings.run_dir.clone(),
            unwanted_here: Arc::default(),
        })
    }

    /// Says that the plugin is wanted, as it is not after [`Plugin::uninstall`].
    ///
    /// # Errors
    /// The folder of sockets cannot be written.
    pub fn want(&self) -> Result<(), PluginError> {
        self.unwanted_here.store(false, Ordering::SeqCst);
        match fs::remove_file(self.unwanted()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(PluginError::io("remove", &self.unwanted(), e))
            }
            _ => Ok(()),
        }
    }

    /// Installs or repairs; does nothing where everything is in place, or after [`Plugin::uninstall`]. The program comes first:
    /// a network that names a program that is not there starts no pod.
    ///
    /// # Errors
    /// A file cannot be read or written, or there is no network to join. No file is damaged.
    pub fn install(&self) -> Result<Done, PluginError> {
        let left = || self.unwanted_here.load(Ordering::SeqCst);
        // The file of the lock, too, is not made again.
        if left() {
            return Ok(Done::default());
        }
        let _lock = self.lock()?;
        if left() || self.unwanted().exists() {
            return Ok(Done::default());
        }
        let program = files::copy(&self.source, &self.bin_dir.join(NAME))?;
        let networks = folder::join(&self.conf_dir, &self.entry)?;
        Ok(Done {
            program,
            networks: networks.into_iter().collect(),
        })
    }

    /// Takes the entry and then the program away. An agent that runs does not put them back before it starts again.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn uninstall(&self) -> Result<Done, PluginError> {
        self.unwanted_here.store(true, Ordering::SeqCst);
        let unwanted = self.unwanted();
        fs::create_dir_all(&self.run_dir)
            .and_then(|()| fs::write(&unwanted, b""))
            .map_err(|e| PluginError::io("write", &unwanted, e))?;
        self.remove()
    }

    /// Takes the entry and then the program away.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn remove(&self) -> Result<Done, PluginError> {
        let _lock = self.lock()?;
        let networks = folder::leave(&self.conf_dir)?;
        let program = files::remove(&self.bin_dir.join(NAME))?;
        Ok(Done { program, networks })
    }

    /// The folder whose changes call for a repair.
    pub fn conf_dir(&self) -> &Path {
        &self.conf_dir
    }

    fn unwanted(&self) -> PathBuf {
        self.run_dir.join("cni-uninstalled")
    }

    /// One process at a time changes the node's files.
    fn lock(&self) -> Result<Flock<fs::File>, PluginError> {
        let path = self.run_dir.join("cni.lock");
        let failed = |e| PluginError::io("lock", &path, e);
        fs::create_dir_all(&self.run_dir).map_err(failed)?;
        let file = fs::File::create(&path).map_err(failed)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(e.into()))
    }
}
