//! Carries out what the node decided and what takes time.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use warren_api::cri::{ContainerRuntime, PodName};

use crate::accounting::Revoked;
use crate::netns::Netns;
use crate::node::{Effect, Input};
use crate::pods::memory::{self, Namespaces};
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
    /// Starts one effect; its end comes back as an input.
    pub fn carry_out(&self, effect: Effect) {
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
                if let Err(error) = store::save(&self.store, &saved) {
                    tracing::error!(%error, path = %self.store.display(), "the remembered pods cannot be written");
                }
            }
            Effect::Remember(namespaces) => self.remember(&namespaces),
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
            Effect::Destroy(namespaces, pairs) => {
                self.revoked.add(&pairs);
                tokio::task::spawn_blocking(move || destroy(&namespaces, &pairs));
            }
        }
    }

    fn remember(&self, namespaces: &Namespaces) {
        if let Some(path) = &self.memory
            && let Err(error) = memory::save(path, namespaces)
        {
            tracing::error!(%error, path = %path.display(), "the remembered namespaces cannot be written");
        }
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
