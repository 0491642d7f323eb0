//! Carries out what the node decided and what takes time.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use warren_api::cri::{ContainerRuntime, PodName};

use crate::accounting::Revoked;
use crate::netns::Netns;
use crate::node::{Effect, Input, KeptFile};
use crate::pods::memory;
use crate::pods::store;
use crate::sockdiag::{self, Pair};
use crate::tunnel::Outbox;

/// Does what takes time.
pub struct Hands {
    /// Where ends of effects are told.
    pub inputs: mpsc::Sender<Input>,
    /// The way to the tunnel.
    pub outbox: Outbox,
    /// The file of remembered pods.
    pub store: PathBuf,
    /// The file of remembered namespaces.
    pub memory: Option<PathBuf>,
    /// Who knows pods' labels.
    pub runtime: Option<ContainerRuntime>,
    /// Direct flows that were ended.
    pub revoked: Arc<Revoked>,
}

impl Hands {
    /// Starts one effect; its end comes back as an input. Returns the file that could not be written.
    pub fn carry_out(&self, effect: Effect) -> Option<KeptFile> {
        match effect {
            Effect::Open(number, path) => {
                self.in_background(move || Input::Opened(number, Netns::open(&path)))
            }
            Effect::Listen(number, netns, wanted) => {
                self.in_background(move || Input::Listening(number, netns.listeners(&wanted)));
            }
            Effect::Tell { link, message, fds } => self.outbox.send(link, (message, fds)),
            // Small, rare, and to be on disk before the next step.
            Effect::Save(saved) => {
                let written = store::save(&self.store, &saved);
                return unwritten(KeptFile::Pods, &self.store, written);
            }
            Effect::Remember(namespaces) => {
                let path = self.memory.as_ref()?;
                let written = memory::save(path, &namespaces);
                return unwritten(KeptFile::Namespaces, path, written);
            }
            Effect::Ask(number, pod) => self.ask(number, pod),
            Effect::TrialListen(trial, netns) => self.in_background(move || {
                let listening = netns.listener_at(trial.destination.ip());
                Input::TrialListens(trial, listening)
            }),
            Effect::TrialConnect(trial, netns, listener) => self.in_background(move || {
                let result = netns.trial(trial.source, trial.destination, listener);
                Input::TrialEnded(trial, result)
            }),
            Effect::LookAt(pods) => self.in_background(move || {
                let gone = pods.iter().filter(|(_, path, netns)| !netns.is_at(path));
                Input::Gone(gone.map(|(number, ..)| *number).collect())
            }),
            Effect::LookAtDeleted(number, asked, path, netns) => self.in_background(move || {
                let gone = match asked {
                    Some(asked) => netns.is_at(&asked),
                    None => !netns.is_at(&path),
                };
                Input::Gone(gone.then_some(number).into_iter().collect())
            }),
            Effect::Destroy(namespaces, pairs) => {
                self.revoked.add(&pairs);
                tokio::task::spawn_blocking(move || destroy(&namespaces, &pairs));
            }
        }
        None
    }

    fn ask(&self, number: u32, pod: PodName) {
        let Some(runtime) = self.runtime.clone() else {
            return;
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let labels = runtime.labels(&pod).await.map_err(|e| e.to_string());
            // The node is gone only when the process ends.
            let _ = inputs.send(Input::Labels(number, labels)).await;
        });
    }

    fn in_background(&self, work: impl FnOnce() -> Input + Send + 'static) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            if let Ok(input) = tokio::task::spawn_blocking(work).await {
                // The node is gone only when the process ends.
                let _ = inputs.send(input).await;
            }
        });
    }
}

fn unwritten(file: KeptFile, path: &Path, written: io::Result<()>) -> Option<KeptFile> {
    let error = written.err()?;
    let what = match file {
        KeptFile::Pods => "pods",
        KeptFile::Namespaces => "namespaces",
    };
    tracing::error!(%error, path = %path.display(), "the remembered {what} cannot be written; trying again");
    Some(file)
}

fn destroy(namespaces: &[Arc<Netns>], pairs: &HashSet<Pair>) {
    for netns in namespaces {
        match sockdiag::destroy(netns.diag.lock().as_fd(), pairs) {
            Ok(ended) => tracing::debug!(cookie = netns.cookie, ended, "sockets destroyed"),
            Err(error) => {
                tracing::error!(%error, cookie = netns.cookie, "denied flows cannot be ended")
            }
        }
    }
}
