//! What an author should know of a policy beside what its own text tells: whom its selector chooses, and what stands in its way.
//! How many pods a selector chooses is counted as pods and policies come and go.

use std::collections::HashMap;

use super::authorization::{self, Compiled, Cover};
use super::peer::{self, Peer};
use super::{Dirty, Index};
use crate::model::{Id, Kind, Labels, Object, ObjectKey};
use crate::warning::Warning;

/// Reason and next step.
pub type Notes = Vec<(String, String)>;

/// Numbers of chosen pods, of policies that have a selector.
#[derive(Debug, Default)]
pub struct Chosen {
    authorizations: HashMap<Id, usize>,
    peers: HashMap<Id, usize>,
}

impl Index {
    /// What would be said of a policy if it were applied now; nothing where it would be refused, and of other kinds.
    pub fn preview(&self, object: &Object) -> Notes {
        match object {
            Object::AuthorizationPolicy(meta, spec) => {
                let compiled = authorization::compile(meta, spec);
                compiled.map_or_else(
                    |_| Notes::new(),
                    |compiled| {
                        let chosen = self.count_authorization(&meta.id, &compiled);
                        self.authorization_notes(&meta.id, &compiled, chosen)
                    },
                )
            }
            Object::PeerAuthentication(meta, spec) => peer::compile(meta, spec).map_or_else(
                |_| Notes::new(),
                |peer| {
                    let chosen = self.count_peer(&meta.id, &peer);
                    self.peer_notes(&meta.id, &peer, chosen)
                },
            ),
            _ => Notes::new(),
        }
    }

    pub(super) fn policy_warnings(&self, key: &ObjectKey) -> Vec<Warning> {
        let id = &key.id;
        let chosen = &self.store.chosen;
        let notes = match key.kind {
            Kind::PeerAuthentication => self.store.peers.get(id).map(|peer| {
                let chosen = chosen.peers.get(id).copied();
                self.peer_notes(id, peer, chosen)
            }),
            _ => self.store.authorizations.get(id).map(|compiled| {
                let chosen = chosen.authorizations.get(id).copied();
                self.authorization_notes(id, compiled, chosen)
            }),
        };
        self.warnings_of(key, notes.unwrap_or_default())
    }

    /// A pod with these labels came or went.
    pub(super) fn count_pod(&mut self, id: &Id, labels: &Labels, present: bool) {
        let root = &self.config.root_namespace;
        let root = Some(root).filter(|r| **r != id.namespace);
        let Chosen {
            authorizations,
            peers,
        } = &mut self.store.chosen;
        let Dirty {
            authorization,
            peer,
            ..
        } = &mut self.dirty;
        let count = |counts: &mut HashMap<Id, usize>, policy: &Id| {
            let count = counts.entry(policy.clone()).or_default();
            let before = *count;
            *count = match present {
                true => before + 1,
                false => before.saturating_sub(1),
            };
            before == 0 || *count == 0
        };
        for namespace in root.into_iter().chain([&id.namespace]) {
            let selectors = &self.store.authorization_selectors;
            for policy in selectors.choosing(namespace, labels) {
                if count(authorizations, policy) {
                    authorization.insert(policy.clone());
                }
            }
        }
        for policy in self.store.peer_selectors.choosing(&id.namespace, labels) {
            if count(peers, policy) {
                peer.insert(policy.clone());
            }
        }
    }

    /// A policy is new, changed or gone.
    pub(super) fn count_chosen_by_authorization(&mut self, id: &Id, compiled: Option<&Compiled>) {
        let count = compiled.and_then(|c| self.count_authorization(id, c));
        set(&mut self.store.chosen.authorizations, id, count);
    }

    /// See [`Self::count_chosen_by_authorization`].
    pub(super) fn count_chosen_by_peer(&mut self, id: &Id, peer: Option<&Peer>) {
        let count = peer.and_then(|p| self.count_peer(id, p));
        set(&mut self.store.chosen.peers, id, count);
    }

    fn count_authorization(&self, id: &Id, compiled: &Compiled) -> Option<usize> {
        let Cover::Selector(selector) = &compiled.cover else {
            return None;
        };
        let within = Some(&*id.namespace).filter(|_| !self.is_root(id));
        Some(self.store.chosen_pods(within, selector).len())
    }

    fn count_peer(&self, id: &Id, peer: &Peer) -> Option<usize> {
        let selector = peer.selector.as_ref()?;
        Some(self.store.chosen_pods(Some(&id.namespace), selector).len())
    }

    fn is_root(&self, id: &Id) -> bool {
        id.namespace == self.config.root_namespace
    }

    fn authorization_notes(&self, id: &Id, compiled: &Compiled, chosen: Option<usize>) -> Notes {
        let mut notes = compiled.notes.clone();
        let everywhere = self.is_root(id);
        notes.extend(chosen.filter(|c| *c == 0).map(|_| nobody(id, everywhere)));
        let Cover::Services(names) = &compiled.cover else {
            return notes;
        };
        let namespace = &id.namespace;
        let exists = |name| {
            let service = Id::new(namespace.clone(), name);
            self.store.services.contains_key(&service)
        };
        let missing = names.iter().filter(|name| !exists(Clone::clone(*name)));
        notes.extend(missing.map(|name| {
            (
                format!("spec.targetRefs: there is no Service {name} in namespace {namespace}"),
                "create it, or correct the name; nothing is enforced for it".to_owned(),
            )
        }));
        notes
    }

    fn peer_notes(&self, id: &Id, peer: &Peer, chosen: Option<usize>) -> Notes {
        let mut notes = peer.notes.clone();
        notes.extend(chosen.filter(|c| *c == 0).map(|_| nobody(id, false)));
        notes.extend(self.older_peer(id, peer).map(|name| {
            (
                format!("PeerAuthentication {name} covers the same scope and is older, so this one has no effect"),
                "remove one of them".to_owned(),
            )
        }));
        notes
    }
}

fn set(counts: &mut HashMap<Id, usize>, id: &Id, count: Option<usize>) {
    match count {
        Some(count) => counts.insert(id.clone(), count),
        None => counts.remove(id),
    };
}

fn nobody(id: &Id, everywhere: bool) -> (String, String) {
    let place = match everywhere {
        true => "any namespace".to_owned(),
        false => format!("namespace {}", id.namespace),
    };
    (
        format!("spec.selector chooses no pod in {place}"),
        "correct its labels, or expect no effect until there is such a pod".to_owned(),
    )
}
