//! Derives what is dirty, compares it with what was published, and keeps the difference.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use warren_core::policy::{Policy, PolicyKey};
use warren_core::service::ServiceKey;
use warren_core::workload::Uid;
use warren_core::{Service, Workload};

use super::endpoints::EndpointId;
use super::scoped::{Attached, Variant};
use super::{Delta, Index, peer};
use crate::model::labels::Traits;
use crate::model::{Id, Kind, Meta, ObjectKey};
use crate::warning::Warning;

/// What tunnels and agents were told.
#[derive(Debug, Default)]
pub struct Published {
    workloads: HashMap<Uid, Arc<Workload>>,
    services: HashMap<ServiceKey, Arc<Service>>,
    policies: HashMap<PolicyKey, Arc<Policy>>,
    /// Variants that pods name, with the number of those pods.
    pub(super) variants: BTreeMap<PolicyKey, (Variant, usize)>,
    pod_variants: HashMap<Id, BTreeSet<Variant>>,
    pub(super) warnings: HashMap<ObjectKey, Vec<Warning>>,
    pending_warnings: BTreeMap<ObjectKey, Vec<Warning>>,
}

impl Published {
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (
            self.workloads.len(),
            self.services.len(),
            self.policies.len(),
        )
    }
}

impl Index {
    /// Published workloads, in no order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.published.workloads.values()
    }

    /// Published services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.published.services.values()
    }

    /// Published policies, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.published.policies.values()
    }

    /// Works through everything dirty. Pods go before policies, since they say which variants are needed.
    pub(super) fn publish(&mut self) -> Delta {
        let mut delta = Delta::default();
        let dirty = std::mem::take(&mut self.dirty);
        self.counters.services += dirty.services.len() as u64;
        for id in &dirty.services {
            let key = self.service_key(id);
            let service = self.derive_service(id);
            changed(
                &mut self.published.services,
                key,
                service,
                &mut delta.services,
            );
        }
        self.counters.pods += dirty.pods.len() as u64;
        for id in &dirty.pods {
            self.publish_pod(id, &mut delta);
        }
        self.counters.endpoints += dirty.endpoints.len() as u64;
        for id in &dirty.endpoints {
            self.publish_endpoint(id, &mut delta);
        }
        for id in dirty.slices {
            let notes = self.slice_notes(&id);
            let kind = Kind::EndpointSlice;
            let key = ObjectKey { kind, id };
            let warnings = self.warnings_of(&key, notes);
            self.set_warnings(key, warnings);
        }
        // Deriving pods marks variants.
        let mut policies = dirty.policies;
        policies.append(&mut self.dirty.policies);
        self.counters.policies += policies.len() as u64;
        for key in policies {
            let policy = self.compile_policy(&key);
            changed(
                &mut self.published.policies,
                key,
                policy,
                &mut delta.policies,
            );
        }
        let authorization = dirty.authorization.into_iter();
        let authorization = authorization.map(|id| (Kind::AuthorizationPolicy, id));
        let peer = dirty.peer.into_iter();
        for (kind, id) in authorization.chain(peer.map(|id| (Kind::PeerAuthentication, id))) {
            let key = ObjectKey { kind, id };
            let warnings = self.policy_warnings(&key);
            self.set_warnings(key, warnings);
        }
        delta.warnings = std::mem::take(&mut self.published.pending_warnings)
            .into_iter()
            .collect();
        delta
    }

    fn publish_pod(&mut self, id: &Id, delta: &mut Delta) {
        let derived = self.derive_pod(id);
        self.note_variants(id, &derived.attached);
        let uid = self.pod_uid(id);
        changed(
            &mut self.published.workloads,
            uid,
            derived.workload,
            &mut delta.workloads,
        );
        self.set_warnings(
            ObjectKey {
                kind: Kind::Pod,
                id: id.clone(),
            },
            derived.warnings,
        );
    }

    fn publish_endpoint(&mut self, id: &EndpointId, delta: &mut Delta) {
        let uid = self.endpoint_uid(id);
        let workload = self.derive_endpoint(id);
        changed(
            &mut self.published.workloads,
            uid,
            workload,
            &mut delta.workloads,
        );
    }

    /// Counts the pods that name each variant; the first and the last make it come and go.
    fn note_variants(&mut self, id: &Id, attached: &Attached) {
        let by_namespace = self
            .store
            .pods_in_service_allow
            .entry(id.namespace.clone())
            .or_default();
        if attached.in_service_allow {
            by_namespace.insert(id.clone());
        } else {
            by_namespace.remove(id);
        }
        let before = self.published.pod_variants.remove(id).unwrap_or_default();
        for gone in before.difference(&attached.variants) {
            let key = gone.key();
            if let Some((_, pods)) = self.published.variants.get_mut(&key) {
                *pods -= 1;
                if *pods == 0 {
                    self.published.variants.remove(&key);
                    self.dirty.policies.insert(key);
                }
            }
        }
        for new in attached.variants.difference(&before) {
            let key = new.key();
            let (_, pods) = self
                .published
                .variants
                .entry(key.clone())
                .or_insert((new.clone(), 0));
            *pods += 1;
            if *pods == 1 {
                self.dirty.policies.insert(key);
            }
        }
        if !attached.variants.is_empty() {
            self.published
                .pod_variants
                .insert(id.clone(), attached.variants.clone());
        }
    }

    fn compile_policy(&self, key: &PolicyKey) -> Option<Policy> {
        if let Some((variant, _)) = self.published.variants.get(key) {
            return self.compile_variant(variant);
        }
        match key.name.strip_prefix(peer::PREFIX) {
            Some(name) => self.compile_peer(&Id::new(key.namespace.clone(), name)),
            None => self.compile_authorization(&Id::new(key.namespace.clone(), key.name.clone())),
        }
    }

    pub(super) fn warnings_of(
        &self,
        key: &ObjectKey,
        notes: Vec<(String, String)>,
    ) -> Vec<Warning> {
        let origin = self.origins.get(key);
        notes
            .into_iter()
            .map(|(reason, next_step)| {
                Warning::object(key.clone(), origin.cloned(), reason, next_step)
            })
            .collect()
    }

    /// Labels and annotations of ours that mean nothing here.
    pub(super) fn trait_warnings(&self, key: &ObjectKey, meta: &Meta) -> Vec<Warning> {
        let (traits, bad) = Traits::of(meta);
        let mut notes: Vec<_> = bad
            .into_iter()
            .map(|(label, value, expected)| {
                (
                    format!("{label}: `{value}` means nothing and is ignored"),
                    format!("use {expected}"),
                )
            })
            .collect();
        if traits.waypoint {
            notes.push((
                "warren.dev/waypoint: waypoints are not in this release, so the label has no effect".into(),
                "remove it, or set it to none".into(),
            ));
        }
        self.warnings_of(key, notes)
    }

    pub(super) fn warn_traits(&mut self, key: ObjectKey, meta: Option<&Meta>) {
        let warnings = meta
            .map(|m| self.trait_warnings(&key, m))
            .unwrap_or_default();
        self.set_warnings(key, warnings);
    }

    fn set_warnings(&mut self, key: ObjectKey, warnings: Vec<Warning>) {
        let known = &mut self.published.warnings;
        if known.get(&key).map_or(&[][..], Vec::as_slice) == warnings {
            return;
        }
        if warnings.is_empty() {
            known.remove(&key);
        } else {
            known.insert(key.clone(), warnings.clone());
        }
        self.published.pending_warnings.insert(key, warnings);
    }
}

fn changed<K: std::hash::Hash + Eq + Clone, V: PartialEq>(
    published: &mut HashMap<K, Arc<V>>,
    key: K,
    value: Option<V>,
    delta: &mut Vec<(K, Option<Arc<V>>)>,
) {
    match value {
        Some(value) => {
            if published.get(&key).is_none_or(|old| **old != value) {
                let value = Arc::new(value);
                published.insert(key.clone(), value.clone());
                delta.push((key, Some(value)));
            }
        }
        None => {
            if published.remove(&key).is_some() {
                delta.push((key, None));
            }
        }
    }
}
