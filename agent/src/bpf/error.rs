//! What can go wrong with the kernel object, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Loading, pinning or attaching failed.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The object file cannot be read.
    #[error(
        "BPF object {path}: {source}; build it with `cargo xtask build`, or name it with --bpf-object"
    )]
    Object {
        /// Its path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The object file is not what it should be.
    #[error("BPF object {path}: {why}; agent and object must be of the same version")]
    Parse {
        /// Its path.
        path: PathBuf,
        /// The parser's word.
        why: String,
    },
    /// The object has no such map or program.
    #[error("BPF object has no {kind} `{name}`; agent and object must be of the same version")]
    Missing {
        /// `map` or `program`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Maps could not be made.
    #[error(
        "BPF maps: {0}; the agent needs CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, and a kernel of 6.1 or later"
    )]
    Maps(String),
    /// The verifier refused a program.
    #[error("BPF program `{name}` was not loaded: {why}")]
    Program {
        /// Its name.
        name: String,
        /// The kernel's word, with the end of the verifier's log.
        why: String,
    },
    /// The directory for pins cannot be used.
    #[error("pin directory {path}: {why}")]
    PinDir {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The cgroup cannot be opened.
    #[error(
        "cgroup {path}: {why}; --cgroup must name a cgroup v2 directory, such as /sys/fs/cgroup"
    )]
    Cgroup {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A program cannot be attached.
    #[error("BPF program `{name}` cannot be attached to {path}: {why}")]
    Attach {
        /// Its name.
        name: String,
        /// The cgroup.
        path: PathBuf,
        /// What is wrong, and who holds the place if that is why.
        why: String,
    },
}
