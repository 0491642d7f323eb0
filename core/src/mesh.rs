//! The indexed model of the mesh that tunnel and agent hold.
//!
//! Every update costs as much as what it changes, never as much as the mesh, and returns a [`Change`] that says what to
//! look at again. Objects are handed out as `Arc`, so a caller may keep one beyond the lock that guards the mesh.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::{Connection, Decision, Policy, PolicyKey, evaluate_known};
use crate::service::{Service, ServiceKey};
use crate::workload::{Uid, Workload};

mod change;
mod claims;
mod groups;
mod intern;
mod lookup;
mod scopes;
#[cfg(test)]
mod tests;
mod update;

pub use change::{Change, Reach};
pub use lookup::{Source, Target};

use claims::AddressIndex;
use groups::Groups;
use intern::Interner;
use scopes::PolicyStore;

/// Workloads, services and policies with the indexes to find them by address, name and scope.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    /// The network that plain addresses are on; empty is the default one.
    network: Arc<str>,
    workloads: HashMap<Uid, Arc<Workload>>,
    services: HashMap<ServiceKey, Arc<Service>>,
    policies: PolicyStore,
    workload_by_address: AddressIndex<Uid>,
    /// Addresses of nodes, by the host-network workloads on them.
    host_by_address: AddressIndex<Uid>,
    service_by_address: AddressIndex<ServiceKey>,
    services_by_hostname: Groups<Arc<str>, ServiceKey>,
    workloads_by_node: Groups<Arc<str>, Uid>,
    endpoints: Groups<ServiceKey, Uid>,
    strings: Interner,
}

impl Mesh {
    /// An empty mesh, seen from `network`: lookups by bare address mean addresses on it.
    pub fn on_network(network: impl Into<Arc<str>>) -> Self {
        Self {
            network: network.into(),
            ..Self::default()
        }
    }

    /// The network that lookups by bare address mean; empty is the default one.
    pub fn network(&self) -> &Arc<str> {
        &self.network
    }

    /// Decides whether `conn` may reach `dest`, by every policy that covers it.
    pub fn decide(&self, conn: &Connection, dest: &Workload) -> Decision {
        evaluate_known(conn, self.policies_for(dest))
    }

    /// The policies that cover `dest`: those of the whole mesh, of its namespace, and those that it names; each once.
    ///
    /// # Errors
    /// The first policy that `dest` names and that is not known, or that may cover `dest` and cannot be read. The caller must
    /// then deny ([`Decision::unknown_policy`]), since the missing one may be a DENY.
    pub fn policies_for<'a>(
        &'a self,
        dest: &'a Workload,
    ) -> Result<impl Iterator<Item = &'a Policy> + Clone, PolicyKey> {
        self.policies.covering(dest)
    }
}
