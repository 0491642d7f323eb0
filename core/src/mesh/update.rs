//! Updates: each touches the indexes of one object.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Change, Mesh};
use crate::address::NetworkAddress;
use crate::policy::{Policy, PolicyKey, PolicyScope};
use crate::service::{Service, ServiceKey};
use crate::workload::{Health, Uid, Workload};

impl Mesh {
    /// Adds a workload, or replaces the one of the same uid.
    pub fn upsert_workload(&mut self, workload: impl Into<Arc<Workload>>) -> Change {
        let mut new: Arc<Workload> = workload.into();
        let old = self.workloads.get(&new.uid).cloned();
        if old.as_ref() == Some(&new) {
            return Change::default();
        }
        // Where somebody else holds it as well, its strings stay as they are.
        if let Some(own) = Arc::get_mut(&mut new) {
            self.strings.workload(own);
        }
        if let Some(old) = &old {
            self.forget_workload(old, Some(&new));
        }
        self.index_workload(&new);
        self.workloads.insert(new.uid.clone(), new.clone());
        workload_change(old.iter().chain([&new]))
    }

    /// Removes a workload; another that claims its address takes it over.
    pub fn remove_workload(&mut self, uid: &Uid) -> Change {
        let Some(old) = self.workloads.remove(uid) else {
            return Change::default();
        };
        self.forget_workload(&old, None);
        workload_change([&old])
    }

    /// Adds a service, or replaces the one of the same key.
    pub fn upsert_service(&mut self, service: impl Into<Arc<Service>>) -> Change {
        let new: Arc<Service> = service.into();
        let key = new.key();
        let old = self.services.get(&key).cloned();
        if old.as_ref() == Some(&new) {
            return Change::default();
        }
        if let Some(old) = &old {
            for addr in old.addresses.iter().filter(|a| !new.addresses.contains(a)) {
                self.service_by_address
                    .release(&addr.network, addr.ip, &key);
            }
        }
        for addr in &new.addresses {
            self.service_by_address
                .claim(&addr.network, addr.ip, &key, true);
        }
        self.services_by_hostname
            .insert(key.hostname.clone(), key.clone());
        self.services.insert(key.clone(), new.clone());
        service_change(key, old.iter().chain([&new]))
    }

    /// Removes a service; its endpoints stay known for the case that it returns.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Change {
        let Some(old) = self.services.remove(key) else {
            return Change::default();
        };
        for addr in &old.addresses {
            self.service_by_address.release(&addr.network, addr.ip, key);
        }
        self.services_by_hostname.remove(&key.hostname, key);
        service_change(key.clone(), [&old])
    }

    /// Adds a policy, or replaces the one of the same key.
    pub fn upsert_policy(&mut self, policy: impl Into<Arc<Policy>>) -> Change {
        Change {
            policies: self.policies.upsert(policy.into()),
            ..Change::default()
        }
    }

    /// Removes a policy. Workloads that still name it are closed from now on: send their update first.
    pub fn remove_policy(&mut self, key: &PolicyKey) -> Change {
        Change {
            policies: self.policies.remove(key),
            ..Change::default()
        }
    }

    /// Notes a policy that exists and cannot be read: it may be a DENY, so what its scope covers takes no new connections until
    /// [`Self::reopen`]. Those that select workloads need no such note: the workloads name them.
    pub fn close(&mut self, key: PolicyKey, scope: PolicyScope) -> Change {
        Change {
            policies: self.policies.close(key, scope),
            ..Change::default()
        }
    }

    /// A policy that could not be read can be now, or is gone.
    pub fn reopen(&mut self, key: &PolicyKey) -> Change {
        Change {
            policies: self.policies.reopen(key),
            ..Change::default()
        }
    }

    fn index_workload(&mut self, workload: &Workload) {
        let healthy = workload.health == Health::Healthy;
        for ip in indexed_addresses(workload) {
            let index = match workload.host_network {
                true => &mut self.host_by_address,
                false => &mut self.workload_by_address,
            };
            index.claim(&workload.network, ip, &workload.uid, healthy);
        }
        for service in workload.services.keys() {
            self.endpoints.insert(service.clone(), workload.uid.clone());
        }
        self.workloads_by_node
            .insert(workload.node.clone(), workload.uid.clone());
        self.policies.name(workload);
    }

    /// Takes `old` out of the indexes. Addresses that `new` keeps stay claimed, so that an update is no new claim.
    fn forget_workload(&mut self, old: &Workload, new: Option<&Workload>) {
        let same_index =
            |n: &&Workload| n.network == old.network && n.host_network == old.host_network;
        let kept: Vec<_> = new
            .filter(same_index)
            .into_iter()
            .flat_map(indexed_addresses)
            .collect();
        for ip in indexed_addresses(old).filter(|ip| !kept.contains(ip)) {
            let index = match old.host_network {
                true => &mut self.host_by_address,
                false => &mut self.workload_by_address,
            };
            index.release(&old.network, ip, &old.uid);
        }
        for service in old.services.keys() {
            self.endpoints.remove(service, &old.uid);
        }
        self.workloads_by_node.remove(&old.node, &old.uid);
        self.policies.unname(old);
    }
}

/// Loopback and unspecified addresses name nobody.
fn indexed_addresses(workload: &Workload) -> impl Iterator<Item = std::net::IpAddr> {
    let canonical = workload
        .addresses
        .iter()
        .map(|ip| crate::address::canonical(*ip));
    canonical.filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn workload_change<'a>(versions: impl IntoIterator<Item = &'a Arc<Workload>>) -> Change {
    let mut services = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut workloads = BTreeSet::new();
    for w in versions {
        services.extend(w.services.keys().cloned());
        addresses.extend(indexed_addresses(w).map(|ip| NetworkAddress::new(w.network.clone(), ip)));
        workloads.insert(w.uid.clone());
    }
    Change {
        workloads: workloads.into_iter().collect(),
        services: services.into_iter().collect(),
        addresses: addresses.into_iter().collect(),
        ..Change::default()
    }
}

fn service_change<'a>(
    key: ServiceKey,
    versions: impl IntoIterator<Item = &'a Arc<Service>>,
) -> Change {
    let addresses: BTreeSet<_> = versions
        .into_iter()
        .flat_map(|s| s.addresses.iter().cloned())
        .collect();
    Change {
        services: vec![key],
        addresses: addresses.into_iter().collect(),
        ..Change::default()
    }
}
