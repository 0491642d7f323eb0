//! The indexed model of the mesh that tunnel and agent hold.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{NetworkAddress, canonical};
use crate::policy::{Policy, PolicyKey};
use crate::service::{Service, ServiceKey};
use crate::workload::{Uid, Workload};

/// Workloads, services and policies with the indexes to find them by address, name and scope.
#[derive(Debug, Default)]
pub struct Mesh {
    workloads: HashMap<Uid, Arc<Workload>>,
    workload_by_address: HashMap<NetworkAddress, Uid>,
    services: HashMap<ServiceKey, Arc<Service>>,
    service_by_address: HashMap<NetworkAddress, ServiceKey>,
    endpoints: HashMap<ServiceKey, HashSet<Uid>>,
    policies: HashMap<PolicyKey, Arc<Policy>>,
}

impl Mesh {
    /// Looks a workload up by its address on the default network.
    pub fn workload_by_ip(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workload_by_address.get(&NetworkAddress::local(canonical(ip))).and_then(|u| self.workloads.get(u))
    }
}
