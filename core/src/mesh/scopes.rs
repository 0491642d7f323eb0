//! Policies by the destinations that they cover.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::change::Reach;
use super::groups::Groups;
use crate::policy::{Policy, PolicyKey, PolicyScope};
use crate::workload::{Uid, Workload};

/// Policies by name and by scope, and the workloads that name each.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyStore {
    all: HashMap<PolicyKey, Arc<Policy>>,
    of_mesh: BTreeMap<PolicyKey, Arc<Policy>>,
    of_namespace: HashMap<Arc<str>, BTreeMap<PolicyKey, Arc<Policy>>>,
    /// Kept for unknown policies too: a workload may be heard of first.
    named_by: Groups<PolicyKey, Uid>,
    /// Policies that exist and cannot be read: what they may cover is closed. Few, if any.
    unreadable: BTreeMap<PolicyKey, PolicyScope>,
}

impl PolicyStore {
    pub(super) fn get(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.all.get(key)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.all.values()
    }

    pub(super) fn upsert(&mut self, policy: Arc<Policy>) -> Reach {
        if self.all.get(&policy.key).is_some_and(|old| *old == policy) {
            return Reach::default();
        }
        let mut reach = self.remove(&policy.key);
        let key = policy.key.clone();
        match policy.scope {
            PolicyScope::Mesh => drop(self.of_mesh.insert(key.clone(), policy.clone())),
            PolicyScope::Namespace => {
                let namespace = self.of_namespace.entry(key.namespace.clone()).or_default();
                namespace.insert(key.clone(), policy.clone());
            }
            PolicyScope::Selector => {}
        }
        self.reach(&policy, &mut reach);
        self.all.insert(key, policy);
        reach
    }

    pub(super) fn remove(&mut self, key: &PolicyKey) -> Reach {
        let mut reach = Reach::default();
        let Some(old) = self.all.remove(key) else {
            return reach;
        };
        self.of_mesh.remove(key);
        if let Some(namespace) = self.of_namespace.get_mut(&key.namespace) {
            namespace.remove(key);
            if namespace.is_empty() {
                self.of_namespace.remove(&key.namespace);
            }
        }
        self.reach(&old, &mut reach);
        reach
    }

    pub(super) fn close(&mut self, key: PolicyKey, scope: PolicyScope) -> Reach {
        let mut reach = self.reopen(&key);
        scope_reach(&key, scope, &mut reach);
        self.unreadable.insert(key, scope);
        reach
    }

    pub(super) fn reopen(&mut self, key: &PolicyKey) -> Reach {
        let mut reach = Reach::default();
        if let Some(scope) = self.unreadable.remove(key) {
            scope_reach(key, scope, &mut reach);
        }
        reach
    }

    pub(super) fn name(&mut self, workload: &Workload) {
        for key in &workload.policies {
            self.named_by.insert(key.clone(), workload.uid.clone());
        }
    }

    pub(super) fn unname(&mut self, workload: &Workload) {
        for key in &workload.policies {
            self.named_by.remove(key, &workload.uid);
        }
    }

    /// See [`super::Mesh::policies_for`].
    pub(super) fn covering<'a>(
        &'a self,
        dest: &'a Workload,
    ) -> Result<impl Iterator<Item = &'a Policy> + Clone, PolicyKey> {
        if let Some(missing) = dest.policies.iter().find(|key| !self.all.contains_key(key)) {
            return Err(missing.clone());
        }
        let covers = |(key, scope): &(&PolicyKey, &PolicyScope)| match scope {
            PolicyScope::Mesh => true,
            PolicyScope::Namespace => key.namespace == dest.namespace,
            PolicyScope::Selector => false,
        };
        if let Some((unreadable, _)) = self.unreadable.iter().find(covers) {
            return Err(unreadable.clone());
        }
        let of_namespace = self.of_namespace.get(&dest.namespace);
        let by_scope = self
            .of_mesh
            .values()
            .chain(of_namespace.into_iter().flat_map(BTreeMap::values));
        let named = dest.policies.iter().filter_map(|key| self.all.get(key));
        // A policy that is named and covers by scope as well was met already.
        let named = named.filter(|p| match p.scope {
            PolicyScope::Mesh => false,
            PolicyScope::Namespace => p.key.namespace != dest.namespace,
            PolicyScope::Selector => true,
        });
        Ok(by_scope.chain(named).map(|p| &**p))
    }

    /// Adds the destinations of `policy`.
    fn reach(&self, policy: &Policy, reach: &mut Reach) {
        scope_reach(&policy.key, policy.scope, reach);
        if reach.workloads.is_empty() {
            reach
                .workloads
                .extend(self.named_by.get(&policy.key).cloned());
        }
    }

    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.all.is_empty()
            && self.of_mesh.is_empty()
            && self.of_namespace.is_empty()
            && self.named_by.len() == 0
            && self.unreadable.is_empty()
    }
}

/// Adds the destinations that a policy of this name covers by scope.
fn scope_reach(key: &PolicyKey, scope: PolicyScope, reach: &mut Reach) {
    match scope {
        PolicyScope::Mesh => reach.mesh = true,
        PolicyScope::Namespace if !reach.namespaces.contains(&key.namespace) => {
            reach.namespaces.push(key.namespace.clone());
        }
        PolicyScope::Namespace | PolicyScope::Selector => {}
    }
}
