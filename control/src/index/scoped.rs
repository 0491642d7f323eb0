//! AuthorizationPolicies in force on pods: events, and those with targetRefs as policies per set of target ports.
//!
//! A policy with targetRefs covers its Services' pods on the target ports only. It travels once per set of ports that pods
//! resolve to, as `<name>/ports/<ports>`. Since the presence of an ALLOW refuses everything else on a pod, pods that no
//! wider ALLOW covers also get `service-scope/other-ports/<ports>`, which leaves their other ports as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warren_core::policy::{Action, Clause, Match, Policy, PolicyKey, PolicyScope, Rule};
use warren_crds::AuthorizationPolicySpec;

use super::Index;
use super::authorization::{Compiled, Cover, compile};
use super::store::member;
use crate::model::{Id, Meta, Pod};

/// A policy that exists because pods need it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// An AuthorizationPolicy on these ports.
    OnPorts(Id, BTreeSet<u16>),
    /// Allows everything on other ports than these.
    OtherPorts(Arc<str>, BTreeSet<u16>),
}

impl Variant {
    /// Its name on the wire.
    pub fn key(&self) -> PolicyKey {
        let (namespace, name) = match self {
            Self::OnPorts(id, ports) => {
                (&id.namespace, format!("{}/ports/{}", id.name, list(ports)))
            }
            Self::OtherPorts(ns, ports) => {
                (ns, format!("service-scope/other-ports/{}", list(ports)))
            }
        };
        PolicyKey {
            namespace: namespace.clone(),
            name: name.into(),
        }
    }
}

/// The policies that a pod names.
#[derive(Debug, Default)]
pub struct Attached {
    /// All of them.
    pub policies: BTreeSet<PolicyKey>,
    /// Those of them that are variants.
    pub variants: BTreeSet<Variant>,
    /// Whether an ALLOW policy with targetRefs is among them.
    pub in_service_allow: bool,
}

impl Index {
    pub(super) fn put_authorization(
        &mut self,
        object: Option<(&Meta, &AuthorizationPolicySpec)>,
        id: &Id,
    ) {
        // A source lets no bad one through; where one comes all the same, it counts as absent.
        let after = object.and_then(|(meta, spec)| compile(meta, spec).ok());
        let before = self.store.authorizations.get(id).cloned();
        if before == after {
            return;
        }
        let reach =
            |c: &Option<Compiled>| c.as_ref().map(|c| (c.cover.clone(), c.is_enforced_allow()));
        if reach(&before) != reach(&after) {
            for (compiled, present) in [(&before, false), (&after, true)] {
                if let Some(compiled) = compiled {
                    self.cover(id, compiled, present);
                }
            }
            let selector = after.as_ref().and_then(|c| match &c.cover {
                Cover::Selector(selector) => Some(selector),
                _ => None,
            });
            self.store.authorization_selectors.set(id, selector);
            self.count_chosen_by_authorization(id, after.as_ref());
        }
        self.mark_policies(id);
        match after {
            Some(compiled) => self.store.authorizations.insert(id.clone(), compiled),
            None => self.store.authorizations.remove(id),
        };
        self.dirty.authorization.insert(id.clone());
    }

    fn mark_policies(&mut self, id: &Id) {
        let key = policy_key(id);
        let prefix = format!("{}/ports/", id.name);
        let from = PolicyKey {
            namespace: id.namespace.clone(),
            name: prefix.as_str().into(),
        };
        let variants = self
            .published
            .variants
            .range(from..)
            .map(|(k, _)| k.clone());
        let own =
            variants.take_while(|k| k.namespace == id.namespace && k.name.starts_with(&prefix));
        self.dirty.policies.extend(own.collect::<Vec<_>>());
        self.dirty.policies.insert(key);
    }

    fn cover(&mut self, id: &Id, compiled: &Compiled, present: bool) {
        let namespace = &id.namespace;
        let in_root = *namespace == self.config.root_namespace;
        match &compiled.cover {
            Cover::Wide => {
                if compiled.is_enforced_allow() {
                    member(
                        &mut self.store.wide_allows,
                        namespace.clone(),
                        id.clone(),
                        present,
                    );
                    let pods = self.store.pods_in_service_allow.iter();
                    let pods = pods
                        .filter(|(ns, _)| in_root || *ns == namespace)
                        .flat_map(|(_, p)| p);
                    self.dirty.pods.extend(pods.cloned());
                }
            }
            Cover::Selector(selector) => {
                let within = (!in_root).then_some(&**namespace);
                self.dirty
                    .pods
                    .extend(self.store.chosen_pods(within, selector));
            }
            Cover::Services(names) => {
                for name in names {
                    let service = Id::new(namespace.clone(), name.clone());
                    if let Some(s) = self
                        .store
                        .services
                        .get(&service)
                        .filter(|s| !s.selector.is_empty())
                    {
                        self.dirty
                            .pods
                            .extend(self.store.chosen_pods(Some(namespace), &s.selector));
                    }
                    member(
                        &mut self.store.authorizations_by_service,
                        service,
                        id.clone(),
                        present,
                    );
                }
            }
        }
    }

    /// The policies that a pod has to name; `services` are those whose selector chooses it, with its ports of them.
    pub(super) fn attached(&self, pod: &Pod, services: &BTreeMap<Id, BTreeSet<u16>>) -> Attached {
        let mut attached = Attached::default();
        let namespace = &pod.meta.id.namespace;
        let mut covered = [namespace, &self.config.root_namespace]
            .iter()
            .any(|ns| self.store.wide_allows.contains_key(*ns));
        let root = Some(&self.config.root_namespace).filter(|r| *r != namespace);
        for ns in root.into_iter().chain([namespace]) {
            for id in self
                .store
                .authorization_selectors
                .choosing(ns, &pod.meta.labels)
            {
                covered |= self
                    .store
                    .authorizations
                    .get(id)
                    .is_some_and(Compiled::is_enforced_allow);
                attached.policies.insert(policy_key(id));
            }
        }
        let mut ports_of: BTreeMap<&Id, BTreeSet<u16>> = BTreeMap::new();
        for (service, ports) in services {
            for policy in self
                .store
                .authorizations_by_service
                .get(service)
                .into_iter()
                .flatten()
            {
                ports_of.entry(policy).or_default().extend(ports);
            }
        }
        let mut allowed = BTreeSet::new();
        for (policy, ports) in ports_of.into_iter().filter(|(_, ports)| !ports.is_empty()) {
            if self
                .store
                .authorizations
                .get(policy)
                .is_some_and(Compiled::is_enforced_allow)
            {
                allowed.extend(&ports);
            }
            attached
                .variants
                .insert(Variant::OnPorts(policy.clone(), ports));
        }
        attached.in_service_allow = !allowed.is_empty();
        if attached.in_service_allow && !covered {
            attached
                .variants
                .insert(Variant::OtherPorts(namespace.clone(), allowed));
        }
        attached
            .policies
            .extend(attached.variants.iter().map(Variant::key));
        attached.policies.extend(self.peer_policy(pod));
        attached
    }

    /// The policy that travels under an AuthorizationPolicy's own name; None where it has targetRefs.
    pub(super) fn compile_authorization(&self, id: &Id) -> Option<Policy> {
        let compiled = self.store.authorizations.get(id)?;
        let scope = match compiled.cover {
            Cover::Wide if id.namespace == self.config.root_namespace => PolicyScope::Mesh,
            Cover::Wide => PolicyScope::Namespace,
            Cover::Selector(_) => PolicyScope::Selector,
            Cover::Services(_) => return None,
        };
        let Compiled {
            action,
            audit,
            rules,
            ..
        } = compiled.clone();
        Some(Policy {
            key: policy_key(id),
            scope,
            action,
            audit,
            rules,
        })
    }

    pub(super) fn compile_variant(&self, variant: &Variant) -> Option<Policy> {
        let (key, scope) = (variant.key(), PolicyScope::Selector);
        match variant {
            Variant::OnPorts(id, ports) => {
                let Compiled {
                    action,
                    audit,
                    mut rules,
                    ..
                } = self.store.authorizations.get(id)?.clone();
                let ports = ports.iter().copied().collect();
                let clause = one(Match {
                    destination_ports: ports,
                    ..Match::default()
                });
                rules
                    .iter_mut()
                    .for_each(|r| r.clauses.push(clause.clone()));
                Some(Policy {
                    key,
                    scope,
                    action,
                    audit,
                    rules,
                })
            }
            Variant::OtherPorts(_, ports) => {
                let ports = ports.iter().copied().collect();
                let clause = one(Match {
                    not_destination_ports: ports,
                    ..Match::default()
                });
                let rules = vec![Rule {
                    clauses: vec![clause],
                }];
                Some(Policy {
                    key,
                    scope,
                    action: Action::Allow,
                    audit: None,
                    rules,
                })
            }
        }
    }
}

/// An AuthorizationPolicy travels under its own name.
fn policy_key(id: &Id) -> PolicyKey {
    PolicyKey {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

fn one(m: Match) -> Clause {
    Clause { matches: vec![m] }
}

fn list(ports: &BTreeSet<u16>) -> String {
    ports
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
