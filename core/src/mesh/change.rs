//! What an update touched.

use std::sync::Arc;

use crate::address::NetworkAddress;
use crate::service::ServiceKey;
use crate::workload::{Uid, Workload};

/// What one update (or several, merged) touched. Empty where the update said nothing new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Workloads added, changed or removed: as a source or as a destination, decisions about them may differ now.
    pub workloads: Vec<Uid>,
    /// Services added, changed or removed, or with an endpoint that was.
    pub services: Vec<ServiceKey>,
    /// Addresses that may mean something else now.
    pub addresses: Vec<NetworkAddress>,
    /// Destinations whose policies changed.
    pub policies: Reach,
}

/// Destinations covered by policies that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Every destination.
    pub mesh: bool,
    /// Those in these namespaces.
    pub namespaces: Vec<Arc<str>>,
    /// Those that name the policy.
    pub workloads: Vec<Uid>,
}

impl Change {
    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty()
            && self.services.is_empty()
            && self.addresses.is_empty()
            && self.policies.is_empty()
    }

    /// Whether a decision about connections to `dest` may differ now; `source` is the other end where it is known.
    pub fn affects(&self, source: Option<&Uid>, dest: &Workload) -> bool {
        self.workloads.contains(&dest.uid)
            || source.is_some_and(|s| self.workloads.contains(s))
            || self.policies.covers(dest)
    }

    /// Adds what another update touched.
    pub fn merge(&mut self, other: Self) {
        extend(&mut self.workloads, other.workloads);
        extend(&mut self.services, other.services);
        extend(&mut self.addresses, other.addresses);
        self.policies.mesh |= other.policies.mesh;
        extend(&mut self.policies.namespaces, other.policies.namespaces);
        extend(&mut self.policies.workloads, other.policies.workloads);
    }
}

impl Reach {
    /// Whether no destination is reached.
    pub fn is_empty(&self) -> bool {
        !self.mesh && self.namespaces.is_empty() && self.workloads.is_empty()
    }

    /// Whether `dest` is reached.
    pub fn covers(&self, dest: &Workload) -> bool {
        self.mesh || self.namespaces.contains(&dest.namespace) || self.workloads.contains(&dest.uid)
    }
}

fn extend<T: Ord>(into: &mut Vec<T>, from: Vec<T>) {
    into.extend(from);
    into.sort();
    into.dedup();
}
