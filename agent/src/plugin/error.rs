//! What can go wrong, with the path and the next step.

use std::io;
use std::path::{Path, PathBuf};

/// Why the plugin could not be installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// A file or folder.
    #[error("cannot {action} {}: {cause}{}", path.display(), hint(cause))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// No network to join.
    #[error(
        "{} has no CNI network (*.conflist, *.conf, *.json) yet; install the cluster's CNI, or set --cni-conf-dir to the folder that the container runtime reads. Warren joins as soon as there is one",
        dir.display()
    )]
    NoNetwork {
        /// The folder.
        dir: PathBuf,
    },
    /// A file that is no network.
    #[error("{} is left as it is: {problem}", path.display())]
    NotUsable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the next step.
        problem: String,
    },
    /// Somebody writes it all the time.
    #[error("{} was changed by somebody else during every attempt; is another program that writes CNI networks running in a loop?", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
}

impl PluginError {
    /// An error of the file system.
    pub fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            cause,
        }
    }

    /// A file that cannot be used.
    pub fn not_usable(path: &Path, problem: impl Into<String>) -> Self {
        Self::NotUsable {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            "; is the host's folder mounted into the agent's container, at the path that the settings name?"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; the agent has to run as root with the host's folder mounted writable"
        }
        _ => "",
    }
}
