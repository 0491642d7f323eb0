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
        let known = |a: &str, b: &str| !a.is_empty() && a == b;
        let (here, there) = (self.locality, &endpoint.locality);
        match scope {
            Scope::Region => known(&here.region, &there.region),
            Scope::Zone => known(&here.zone, &there.zone),
            Scope::Subzone => known(&here.subzone, &there.subzone),
            Scope::Node => known(self.node, &endpoint.node),
            Scope::Cluster => known(self.cluster, &endpoint.cluster),
            Scope::Network => *self.network == *endpoint.network,
        }
    }

    /// How many of `scopes`, from the most important one on and without a gap, `endpoint` shares.
    pub fn nearness(&self, scopes: &[Scope], endpoint: &Workload) -> usize {
        scopes
            .iter()
            .take_while(|s| self.shares(**s, endpoint))
            .count()
    }
}
