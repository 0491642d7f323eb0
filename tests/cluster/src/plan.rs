//! What a cluster looks like: its nodes and everybody's addresses.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, clusters};

/// Range of Service addresses, both families.
pub const SERVICES: &str = "10.96.0.0/16,fd00:10:96::/112";
/// Range of all pods, both families.
pub const PODS: &str = "10.244.0.0/16,fd00:10:244::/56";
/// Address of the Service `default/kubernetes`.
pub const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Addresses of the cluster's DNS.
pub const DNS: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(10, 96, 0, 10),
    Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa),
);

/// How pods are wired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// A link of its own for each pod
    #[default]
    Ptp,
    /// A bridge on each node
    Bridge,
}

/// A cluster's shape. Several clusters live beside each other because each has a number of its own; what lies inside (pods, Services) may
/// be the same in all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the cluster.
    pub name: String,
    /// Decides the network between the nodes.
    pub number: u8,
    /// Names of the nodes, in the order of their addresses.
    pub nodes: Vec<String>,
    /// How pods are wired.
    pub cni: Cni,
}

/// An address of each family.
pub type Pair = (Ipv4Addr, Ipv6Addr);

impl Plan {
    /// Chooses a number that no other cluster of this machine has.
    ///
    /// # Errors
    /// There are too many nodes or clusters.
    pub fn new(name: &str, nodes: &[String], cni: Cni) -> Result<Self> {
        if nodes.is_empty() || nodes.len() > 9 {
            bail!("a cluster has one to nine nodes, not {}", nodes.len());
        }
        let others = clusters().into_iter().filter(|other| other != name);
        let taken: Vec<u8> = others
            .filter_map(|other| Some(Self::load(&Layout::new(&other)).ok()?.number))
            .collect();
        let number = (0..250u8)
            .find(|number| !taken.contains(number))
            .context("there are 250 clusters on this machine: take some down")?;
        Ok(Self {
            name: name.to_owned(),
            number,
            nodes: nodes.to_vec(),
            cni,
        })
    }

    /// Reads what an earlier `up` decided.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn load(layout: &Layout) -> Result<Self> {
        let path = layout.plan();
        let text = fs::read(&path).with_context(|| {
            format!(
                "there is no cluster {}: `cargo xtask cluster up` makes one",
                layout.name
            )
        })?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, layout: &Layout) -> Result<()> {
        fs::write(layout.plan(), serde_json::to_vec_pretty(self)?)
            .with_context(|| layout.plan().display().to_string())
    }

    /// The control plane's addresses; the range is the one set aside for benchmarks (RFC 2544, section C.2.2).
    pub fn control(&self) -> Pair {
        self.host(1)
    }

    /// This machine's own, at the other end of the link.
    pub fn outside(&self) -> Pair {
        self.host(254)
    }

    /// A node's, by its place in the list.
    pub fn node(&self, index: usize) -> Pair {
        self.host(11 + u8::try_from(index).unwrap_or(u8::MAX))
    }

    /// Ranges of a node's pods, IPv4 and IPv6: those of the lab.
    pub fn pods(&self, n: usize) -> [String; 2] {
        [format!("10.244.{n}.0/24"), format!("fd00:10:244:{n}::/64")]
    }

    /// Where the API server is reached, from every machine of the cluster and from this one.
    pub fn server(&self) -> String {
        format!("https://{}:6443", self.control().0)
    }

    fn host(&self, host: u8) -> Pair {
        let v6 = Ipv6Addr::new(
            0xfd00,
            0x198,
            0x18,
            self.number.into(),
            0,
            0,
            0,
            host.into(),
        );
        (Ipv4Addr::new(198, 18, self.number, host), v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_between_machines_and_clusters() {
        let nodes = ["a", "b"].map(str::to_owned);
        let mut plan = Plan::new("unheardof", &nodes, Cni::Ptp).unwrap();
        plan.number = 3;
        assert_eq!(plan.control().0.to_string(), "198.18.3.1");
        assert_eq!(plan.node(1).1.to_string(), "fd00:198:18:3::c");
        assert_eq!(plan.pods(0), ["10.244.0.0/24", "fd00:10:244:0::/64"]);
        assert!(Plan::new("x", &[], Cni::Ptp).is_err());
    }
}
