//! Why the mesh could not be installed, upgraded or removed: one line each, with the next step.

use std::path::PathBuf;

/// Exit statuses.
const FAILURE: u8 = 1;
const BAD_ARGUMENTS: u8 = 2;

/// Why a command gave up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No Helm.
    #[error(
        "{} cannot be run ({why}): install Helm 3.14 or newer (https://helm.sh/docs/intro/install) and put it on PATH, or name it with \
         --helm or WARREN_HELM",
        path.display()
    )]
    NoHelm {
        /// As it was asked for.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// One that lacks what is needed.
    #[error("{} is version `{version}`: Helm 3.14 or newer is needed", path.display())]
    OldHelm {
        /// As it was asked for.
        path: PathBuf,
        /// What it says of itself.
        version: String,
    },
    /// Settings that the charts refuse.
    #[error("the settings are not good: {0}")]
    Values(String),
    /// No API server answers.
    #[error("no cluster can be reached: {why}; --kubeconfig and --kube-context say which is meant")]
    Unreachable {
        /// What went wrong.
        why: String,
    },
    /// This user may not.
    #[error("this user may not {}: ask for cluster-admin, or for these rights", missing.join(", "))]
    Forbidden {
        /// Verbs and kinds.
        missing: Vec<String>,
    },
    /// A check before the installation failed.
    #[error("{} and nothing was changed; --skip-checks goes on all the same", checks(*count))]
    Checks {
        /// How many.
        count: usize,
    },
    /// Nothing is there to upgrade or remove.
    #[error("Warren is not installed in the namespace {namespace}{}", elsewhere(found.as_deref()))]
    NotInstalled {
        /// Where it was looked for.
        namespace: String,
        /// Where it is instead.
        found: Option<String>,
    },
    /// It is there already.
    #[error(
        "Warren {version} is installed in {namespace} already ({status}): `warren upgrade` changes it"
    )]
    Installed {
        /// Its version.
        version: String,
        /// Its namespace.
        namespace: String,
        /// What Helm says of it.
        status: String,
    },
    /// Objects of the mesh belong to somebody else.
    #[error("the cluster has a mesh already, {owner}: {remedy}")]
    InTheWay {
        /// Whose.
        owner: String,
        /// What to do.
        remedy: String,
    },
    /// A Helm that was ended in the middle.
    #[error(
        "an earlier Helm has not ended ({status}): wait for it, or where it was interrupted `helm rollback warren -n {namespace}` \
         or `warren uninstall --skip-leave -n {namespace}` clears the way"
    )]
    Pending {
        /// What Helm says of the release.
        status: String,
        /// Its namespace.
        namespace: String,
    },
    /// Too far back.
    #[error(
        "the mesh is {installed} and this is warren {own}: going back is possible by one minor version within a major one; use a `warren` \
         that is not older than {oldest}"
    )]
    Downgrade {
        /// What is installed.
        installed: semver::Version,
        /// This program's.
        own: semver::Version,
        /// What could be gone back to.
        oldest: String,
    },
    /// Another version's charts cannot tell these agents to leave.
    #[error(
        "the mesh is {installed} and this is warren {own}: `warren upgrade` first, or uninstall with the `warren` of {installed}"
    )]
    OtherVersion {
        /// What is installed.
        installed: String,
        /// This program's.
        own: String,
    },
    /// Agents that did not get ready to leave.
    #[error(
        "{who} did not get ready to leave within {seconds} s: `kubectl -n {namespace} get pods -l app.kubernetes.io/name=warren-agent -o \
         wide` shows why; --skip-leave goes on, and leaves what is on those nodes"
    )]
    Leave {
        /// Nodes or a number.
        who: String,
        /// How long was waited.
        seconds: u64,
        /// Where they are.
        namespace: String,
    },
    /// Policies that nobody confirmed the loss of.
    #[error("--purge-crds would delete {what}: say --yes as well if that is meant")]
    Policies {
        /// How many of each kind.
        what: String,
    },
    /// Helm failed.
    #[error("helm {command} failed: {why}")]
    Helm {
        /// The subcommand.
        command: String,
        /// Its last words.
        why: String,
    },
    /// The API server refused something.
    #[error("{what}: {why}")]
    Api {
        /// What was asked for.
        what: String,
        /// The server's word.
        why: String,
    },
    /// The private folder of the charts.
    #[error("the charts cannot be written to a temporary folder: {0}")]
    Folder(#[from] std::io::Error),
}

impl Error {
    /// The exit status: 2 where the arguments are at fault.
    pub fn status(&self) -> u8 {
        match self {
            Self::Values(_) => BAD_ARGUMENTS,
            _ => FAILURE,
        }
    }

    /// A failed request.
    pub(super) fn api(what: impl Into<String>, error: &kube::Error) -> Self {
        let (what, why) = (what.into(), in_words(error));
        match error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden {
                missing: vec![format!("do this: {what} ({why})")],
            },
            kube::Error::Api(_) => Self::Api { what, why },
            _ => Self::Unreachable { why },
        }
    }
}

/// An error and its causes, in one line.
pub(super) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Many errors repeat their cause.
        if !words.iter().any(|word| word.contains(&text)) {
            words.push(text);
        }
        next = error.source();
    }
    words
        .join(": ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn checks(count: usize) -> String {
    match count {
        1 => "a check of the cluster fails,".to_owned(),
        n => format!("{n} checks of the cluster fail,"),
    }
}

fn elsewhere(found: Option<&str>) -> String {
    match found {
        Some(found) => format!("; it is {found}"),
        None => "; `warren install` installs it".to_owned(),
    }
}
