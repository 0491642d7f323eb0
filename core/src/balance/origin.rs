//! Where a choice is made from.

use crate::service::Scope;
use crate::workload::{Locality, Workload};

/// The place of the source, which nearness is measured from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Network; empty is the default one.
    pub network: &'a str,
    /// Cluster.
    pub cluster: &'a str,
    /// Node.
    pub node: &'a str,
    /// Region, zone.
    pub locality: &'a Locality,
}

impl<'a> From<&'a Workload> for Origin<'a> {
    fn from(w: &'a Workload) -> Self {
        Self {
            network: &w.network,
            cluster: &w.cluster,
            node: &w.node,
            locality: &w.locality,
        }
    }
}

impl Origin<'_> {
    /// Whether `endpoint` is in the same `scope`. What is unknown of either side is not the same; an empty network has a
    /// meaning of its own.
    pub fn shares(&self, scope: Scope, endpoint: &Workload) -> bool {
        self.compare(scope, endpoint) == Some(true)
    }

    /// None where it is unknown of either side.
    fn compare(&self, scope: Scope, endpoint: &Workload) -> Option<bool> {
        let known = |a: &str, b: &str| (!a.is_empty() && !b.is_empty()).then(|| a == b);
        let (here, there) = (self.locality, &endpoint.locality);
        match scope {
            Scope::Region => known(&here.region, &there.region),
            Scope::Zone => known(&here.zone, &there.zone),
            Scope::Subzone => known(&here.subzone, &there.subzone),
            Scope::Node => known(self.node, &endpoint.node),
            Scope::Cluster => known(self.cluster, &endpoint.cluster),
            Scope::Network => Some(*self.network == *endpoint.network),
        }
    }

    /// How many of `scopes`, from the most important one on and without a gap, `endpoint` shares. A scope that is unknown,
    /// as where nodes have no such label, is no gap if a smaller one that is asked for is shared.
    pub fn nearness(&self, scopes: &[Scope], endpoint: &Workload) -> usize {
        let fills = |outer: Scope, inner: Scope| {
            let within = matches!(
                (outer, inner),
                (Scope::Region, Scope::Zone)
                    | (Scope::Region | Scope::Zone | Scope::Subzone, Scope::Node)
            );
            within && self.shares(inner, endpoint)
        };
        let shared = |scope: Scope, rest: &[Scope]| {
            let same = self.compare(scope, endpoint);
            same.unwrap_or_else(|| rest.iter().any(|inner| fills(scope, *inner)))
        };
        let mut rest = scopes;
        while let Some((scope, smaller)) = rest.split_first() {
            if !shared(*scope, smaller) {
                break;
            }
            rest = smaller;
        }
        scopes.len() - rest.len()
    }
}
