//! The mesh: who holds an address, which policies cover whom, what a change names, and a model to compare all with.

use std::net::IpAddr;

use super::*;
use crate::address::NetworkAddress;
use crate::policy::{Action, Audit, Match, PolicyScope, Reason, Rule};
use crate::workload::Health;

mod addresses;
mod changes;
mod covering;
mod model;

fn ip(s: &str) -> IpAddr {
    s.parse().expect("address in a test")
}

fn pod(name: &str, address: &str) -> Workload {
    Workload {
        addresses: vec![ip(address)],
        ..Workload::new(name, "shop", name)
    }
}

fn sick(name: &str, address: &str) -> Workload {
    Workload {
        health: Health::Unhealthy,
        ..pod(name, address)
    }
}

fn key(name: &str) -> PolicyKey {
    PolicyKey::new("shop", name)
}

fn policy(key: PolicyKey, scope: PolicyScope, action: Action, rules: Vec<Rule>) -> Policy {
    Policy {
        key,
        scope,
        action,
        audit: None,
        rules,
    }
}

fn plaintext_to(w: &Workload) -> Connection {
    Connection {
        identity: None,
        source: (ip("10.0.0.9"), 1000).into(),
        destination: (w.addresses.first().copied().unwrap_or(ip("10.0.0.1")), 80).into(),
    }
}

impl Mesh {
    /// Nothing is left in any index.
    fn is_clean(&self) -> bool {
        self.workloads.is_empty()
            && self.services.is_empty()
            && self.policies.is_clean()
            && self.workload_by_address.len() == 0
            && self.host_by_address.len() == 0
            && self.service_by_address.len() == 0
            && self.services_by_hostname.len() == 0
            && self.workloads_by_node.len() == 0
            && self.endpoints.len() == 0
    }
}
