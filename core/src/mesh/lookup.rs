//! Lookups.

use std::net::IpAddr;
use std::sync::Arc;

use super::Mesh;
use crate::address::NetworkAddress;
use crate::policy::{Policy, PolicyKey};
use crate::service::{Service, ServiceKey};
use crate::workload::{Uid, Workload};

/// Who sends from an address, as far as the model knows. Never a proof of identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// This workload.
    Workload(&'a Arc<Workload>),
    /// Something on this node: host-network workloads share its addresses.
    Node(&'a Arc<str>),
    /// Nobody that is known.
    Unknown,
}

/// What a destination address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A workload's own address.
    Workload(&'a Arc<Workload>),
    /// A service's virtual address.
    Service(&'a Arc<Service>),
}

impl Mesh {
    /// Looks a workload up by name.
    pub fn workload(&self, uid: &Uid) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// Looks a workload up by its address on the mesh's own network. Host-network workloads are not found by address.
    pub fn workload_by_ip(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workload_at(&self.network, ip)
    }

    /// Looks a workload up by its address on a named network.
    pub fn workload_by_address(&self, addr: &NetworkAddress) -> Option<&Arc<Workload>> {
        self.workload_at(&addr.network, addr.ip)
    }

    /// Looks a service up by name.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// Looks a service up by a virtual address on the mesh's own network.
    pub fn service_by_ip(&self, ip: IpAddr) -> Option<&Arc<Service>> {
        self.service_at(&self.network, ip)
    }

    /// Looks a service up by a virtual address on a named network.
    pub fn service_by_address(&self, addr: &NetworkAddress) -> Option<&Arc<Service>> {
        self.service_at(&addr.network, addr.ip)
    }

    /// Services of one fully qualified name, one a namespace, in order of namespace.
    pub fn services_by_hostname(&self, hostname: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.services_by_hostname
            .get(hostname)
            .filter_map(|key| self.services.get(key))
    }

    /// The workloads that back a service, healthy or not, in order of uid.
    pub fn endpoints(&self, key: &ServiceKey) -> impl Iterator<Item = &Arc<Workload>> {
        self.endpoints
            .get(key)
            .filter_map(|uid| self.workloads.get(uid))
    }

    /// The workloads on a node, in order of uid.
    pub fn workloads_on(&self, node: &str) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads_by_node
            .get(node)
            .filter_map(|uid| self.workloads.get(uid))
    }

    /// Looks a policy up by name.
    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.policies.get(key)
    }

    /// All workloads, in no order.
    pub fn workloads(&self) -> impl ExactSizeIterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// All services, in no order.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// All policies, in no order.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.iter()
    }

    /// Who sends from `ip` on the mesh's own network.
    pub fn source(&self, ip: IpAddr) -> Source<'_> {
        if let Some(workload) = self.workload_by_ip(ip) {
            return Source::Workload(workload);
        }
        let host = self.host_by_address.get(&self.network, ip);
        match host.and_then(|uid| self.workloads.get(uid)) {
            Some(workload) => Source::Node(&workload.node),
            None => Source::Unknown,
        }
    }

    /// What `ip` on the mesh's own network is. A workload goes before a service, so that no service can take a pod's
    /// address away by listing it among its own.
    pub fn target(&self, ip: IpAddr) -> Option<Target<'_>> {
        let workload = self.workload_by_ip(ip).map(Target::Workload);
        workload.or_else(|| self.service_by_ip(ip).map(Target::Service))
    }

    fn workload_at(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workload_by_address
            .get(network, ip)
            .and_then(|uid| self.workloads.get(uid))
    }

    fn service_at(&self, network: &str, ip: IpAddr) -> Option<&Arc<Service>> {
        self.service_by_address
            .get(network, ip)
            .and_then(|key| self.services.get(key))
    }
}
