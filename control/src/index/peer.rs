//! PeerAuthentication: what is in force where, and as which policy it travels.

use std::collections::BTreeMap;
use std::sync::Arc;

use warren_core::policy::{
    Action, Clause, Match, Policy, PolicyKey, PolicyScope, Rule, StringMatch,
};
use warren_crds::PeerAuthenticationSpec;
use warren_crds::peer_authentication::{Mode, MutualTls};

use super::Index;
use crate::model::{Id, Labels, Meta, Pod};

/// Names of policies that stand for PeerAuthentications start with this; no object's own name holds a `/`.
pub const PREFIX: &str = "peerauthentication/";

/// One PeerAuthentication, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// None: it covers its namespace, or the mesh.
    pub selector: Option<Labels>,
    /// The mode of all ports; None inherits.
    pub strict: Option<bool>,
    /// Ports with a mode of their own.
    pub ports: BTreeMap<u16, bool>,
    /// Creation time.
    pub created: i64,
    /// What has no effect: reason and next step.
    pub notes: Vec<(String, String)>,
}

/// Checks a PeerAuthentication.
///
/// # Errors
/// A port that is none.
pub fn compile(meta: &Meta, spec: &PeerAuthenticationSpec) -> Result<Peer, String> {
    let mut notes = Vec::new();
    let mut mode =
        |field: &str, mtls: Option<&MutualTls>| match mtls.map_or(Mode::Unset, |m| m.mode) {
            Mode::Unset => None,
            Mode::Strict => Some(true),
            Mode::Permissive => Some(false),
            Mode::Disable => {
                notes.push((
                format!(
                    "{field}: DISABLE is taken as PERMISSIVE, since mutual TLS is always offered"
                ),
                "use PERMISSIVE".to_owned(),
            ));
                Some(false)
            }
        };
    let strict = mode("spec.mtls.mode", spec.mtls.as_ref());
    let mut ports = BTreeMap::new();
    for (text, mtls) in spec.port_level_mtls.iter().flatten() {
        let port = text.parse::<u16>().ok().filter(|p| *p != 0);
        let port = port.ok_or_else(|| format!("spec.portLevelMtls: `{text}` is not a port"))?;
        if let Some(strict) = mode(&format!("spec.portLevelMtls.{port}"), Some(mtls)) {
            ports.insert(port, strict);
        }
    }
    let selector = spec
        .selector
        .as_ref()
        .map(|s| s.match_labels.clone())
        .filter(|s| !s.is_empty());
    if selector.is_none() && !ports.is_empty() {
        ports.clear();
        notes.push((
            "spec.portLevelMtls has no effect without a selector".to_owned(),
            "add a selector, or remove it".to_owned(),
        ));
    }
    Ok(Peer {
        selector,
        strict,
        ports,
        created: meta.created,
        notes,
    })
}

/// The name under which a PeerAuthentication travels as a policy.
pub fn policy_key(id: &Id) -> PolicyKey {
    PolicyKey {
        namespace: id.namespace.clone(),
        name: format!("{PREFIX}{}", id.name).into(),
    }
}

impl Index {
    pub(super) fn put_peer(&mut self, object: Option<(&Meta, &PeerAuthenticationSpec)>, id: &Id) {
        // A source lets no bad one through; where one comes all the same, it counts as absent.
        let after = object.and_then(|(meta, spec)| compile(meta, spec).ok());
        let before = self.store.peers.get(id).cloned();
        if before == after {
            return;
        }
        for (peer, present) in [(&before, false), (&after, true)] {
            let Some(peer) = peer else { continue };
            if peer.selector.is_none() {
                let of_namespace = self
                    .store
                    .wide_peers
                    .entry(id.namespace.clone())
                    .or_default();
                let entry = (peer.created, id.name.clone());
                if present {
                    of_namespace.insert(entry);
                } else {
                    of_namespace.remove(&entry);
                }
            }
            self.mark_peer(id, peer);
        }
        for selector in [&before, &after]
            .into_iter()
            .filter_map(|p| p.as_ref()?.selector.as_ref())
        {
            let same: Vec<Id> = self.same_selector(id, selector).cloned().collect();
            self.dirty.peer.extend(same);
        }
        let selector = after.as_ref().and_then(|p| p.selector.as_ref());
        self.store.peer_selectors.set(id, selector);
        self.count_chosen_by_peer(id, after.as_ref());
        match after {
            Some(peer) => self.store.peers.insert(id.clone(), peer),
            None => self.store.peers.remove(id),
        };
        self.dirty.peer.insert(id.clone());
        self.dirty.policies.insert(policy_key(id));
    }

    /// A wide one is inherited by all that leave the mode open.
    fn mark_peer(&mut self, id: &Id, peer: &Peer) {
        if let Some(selector) = &peer.selector {
            self.dirty
                .pods
                .extend(self.store.chosen_pods(Some(&id.namespace), selector));
            return;
        }
        let mesh = id.namespace == self.config.root_namespace;
        if mesh {
            self.dirty
                .pods
                .extend(self.store.pod_labels.everywhere().cloned());
        } else {
            self.dirty
                .pods
                .extend(self.store.pod_labels.in_namespace(&id.namespace).cloned());
        }
        for other in self
            .store
            .peers
            .keys()
            .filter(|k| mesh || k.namespace == id.namespace)
        {
            self.dirty.policies.insert(policy_key(other));
            self.dirty.peer.insert(other.clone());
        }
    }

    /// What a namespace's pods inherit: whether STRICT, and by which object.
    fn inherited(&self, namespace: &Arc<str>) -> Option<(bool, Id)> {
        let first = |ns: &Arc<str>| {
            let (_, name) = self.store.wide_peers.get(ns)?.first()?;
            let id = Id::new(ns.clone(), name.clone());
            let strict = self.store.peers.get(&id)?.strict?;
            Some((strict, id))
        };
        first(namespace).or_else(|| first(&self.config.root_namespace))
    }

    /// The policy that refuses plaintext to a pod, where there is one.
    pub(super) fn peer_policy(&self, pod: &Pod) -> Option<PolicyKey> {
        let namespace = &pod.meta.id.namespace;
        let chosen = self
            .store
            .peer_selectors
            .choosing(namespace, &pod.meta.labels);
        let oldest =
            chosen.min_by_key(|id| (self.store.peers.get(*id).map_or(0, |p| p.created), &id.name));
        match oldest {
            Some(id) => self.compile_peer(id).map(|p| p.key),
            None => self
                .inherited(namespace)
                .filter(|(strict, _)| *strict)
                .map(|(_, id)| policy_key(&id)),
        }
    }

    /// DENY to everything without an identity, ports aside.
    pub(super) fn compile_peer(&self, id: &Id) -> Option<Policy> {
        let peer = self.store.peers.get(id)?;
        let inherit = || {
            self.inherited(&id.namespace)
                .is_some_and(|(strict, _)| strict)
        };
        let strict = match peer.strict {
            Some(strict) => strict,
            None => peer.selector.is_some() && inherit(),
        };
        let exceptions: Vec<u16> = peer
            .ports
            .iter()
            .filter(|(_, s)| **s != strict)
            .map(|(port, _)| *port)
            .collect();
        if !strict && exceptions.is_empty() {
            return None;
        }
        let mut plaintext = Match {
            not_principals: vec![StringMatch::Presence],
            ..Match::default()
        };
        if strict {
            plaintext.not_destination_ports = exceptions;
        } else {
            plaintext.destination_ports = exceptions;
        }
        Some(Policy {
            key: policy_key(id),
            scope: PolicyScope::Selector,
            action: Action::Deny,
            audit: None,
            rules: vec![Rule {
                clauses: vec![Clause {
                    matches: vec![plaintext],
                }],
            }],
        })
    }

    /// The PeerAuthentication of the very same scope that goes before this one.
    pub(super) fn older_peer(&self, id: &Id, peer: &Peer) -> Option<Arc<str>> {
        let oldest = match &peer.selector {
            None => self.store.wide_peers.get(&id.namespace)?.first().cloned(),
            Some(selector) => self
                .same_selector(id, selector)
                .filter_map(|other| {
                    let created = self.store.peers.get(other)?.created;
                    Some((created, other.name.clone()))
                })
                .min(),
        };
        oldest
            .filter(|oldest| *oldest < (peer.created, id.name.clone()) && oldest.1 != id.name)
            .map(|(_, name)| name)
    }

    fn same_selector<'a>(
        &'a self,
        id: &'a Id,
        selector: &'a Labels,
    ) -> impl Iterator<Item = &'a Id> {
        let is = |other: &&Id| {
            let other = self.store.peers.get(*other);
            other.is_some_and(|p| p.selector.as_ref() == Some(selector))
        };
        // What chooses the selector's own labels is as wide or wider.
        let wider = self.store.peer_selectors.choosing(&id.namespace, selector);
        wider.filter(is)
    }

    /// Several that choose one pod by other labels: which of them is in force, and which are not.
    pub(super) fn contending_peers(&self, pod: &Pod) -> Option<(String, String)> {
        let chosen = self
            .store
            .peer_selectors
            .choosing(&pod.meta.id.namespace, &pod.meta.labels);
        let mut chosen: Vec<_> = chosen
            .filter_map(|id| Some((self.store.peers.get(id)?, &id.name)))
            .collect();
        chosen.sort_by_key(|(peer, name)| (peer.created, *name));
        let ((first, name), others) = chosen.split_first()?;
        // Those with the same selector are told so themselves.
        let others: Vec<&str> = others
            .iter()
            .filter(|(peer, _)| peer.selector != first.selector)
            .map(|(_, name)| &***name)
            .collect();
        (!others.is_empty()).then(|| {
            (
                format!(
                    "PeerAuthentications {name} and {} choose this pod; {name} is the oldest and in force, the others have no effect on it",
                    others.join(", ")
                ),
                "make one of them choose it".to_owned(),
            )
        })
    }
}
