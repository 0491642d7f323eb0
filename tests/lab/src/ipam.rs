//! Addresses of nodes, pods and Services, always one of each family at hand.
//!
//! Nodes get 172.18.0.0/24 and fd00:172:18::/64, the pods of the n-th node 10.244.n.0/24 and
//! fd00:10:244:n::/64, Services 10.96.0.0/16 and fd00:10:96::/112.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};

/// Address, in each node's network namespace, of the cluster's DNS server.
pub const DNS_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);
/// The same for pods that have IPv6 only.
pub const DNS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x169, 0x254, 0, 0, 0, 0, 0x10);
/// The pods' next hop; every host end of a pod's link has it.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The pods' next hop for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Number within a subnet of the address that a client outside the cluster has.
pub const OUTSIDE: u8 = 254;

/// IPv4 address of node number `index` (from 0).
pub fn node_v4(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 18, 0, index + 1)
}

/// IPv6 address of node number `index` (from 0).
pub fn node_v6(index: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, u16::from(index) + 1)
}

/// CIDRs of the pods of node number `index`, v4 then v6.
pub fn pod_cidrs(index: u8) -> [String; 2] {
    [
        format!("10.244.{index}.0/24"),
        format!("fd00:10:244:{index:x}::/64"),
    ]
}

/// CIDRs of Services, v4 then v6.
pub const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];

/// Hands out pod and Service addresses.
#[derive(Debug, Default)]
pub struct Ipam {
    pods: BTreeSet<(u8, u8)>,
    last: [u8; 32],
    services: BTreeSet<u16>,
    last_service: u16,
    taken: BTreeSet<IpAddr>,
}

impl Ipam {
    /// A pair of addresses for a pod of node number `node`. Addresses are reused as late as possible.
    pub fn pod(&mut self, node: u8) -> Result<(Ipv4Addr, Ipv6Addr)> {
        let last = self.last[usize::from(node)];
        let order = (last.max(1) + 1..=253).chain(2..=last.max(1));
        for host in order {
            if self.pods.insert((node, host)) {
                self.last[usize::from(node)] = host;
                return Ok(pod_pair(node, host));
            }
        }
        bail!("node number {node} has no free pod address: a lab node holds 252 pods")
    }

    /// Gives a pod's address back.
    pub fn release_pod(&mut self, address: Ipv4Addr) {
        let [_, _, node, host] = address.octets();
        self.pods.remove(&(node, host));
    }

    /// A pair of addresses for a Service.
    pub fn service(&mut self) -> Result<(Ipv4Addr, Ipv6Addr)> {
        for _ in 0..u16::MAX {
            self.last_service = self.last_service.wrapping_add(1);
            let (v4, v6) = service_pair(self.last_service);
            // The first ones are kept for well-known Services, as clusters do.
            let usable = self.last_service > 20 && self.last_service < 0xfff0;
            let free = !self.taken.contains(&v4.into()) && !self.taken.contains(&v6.into());
            if usable && free && self.services.insert(self.last_service) {
                return Ok((v4, v6));
            }
        }
        bail!("no free Service address is left in {}", SERVICE_CIDRS[0])
    }

    /// Reserves an address that a manifest asked for.
    pub fn reserve_service(&mut self, address: IpAddr) -> Result<()> {
        let inside = match address {
            IpAddr::V4(v4) => v4.octets()[..2] == [10, 96],
            IpAddr::V6(v6) => v6.segments()[..7] == [0xfd00, 0x10, 0x96, 0, 0, 0, 0],
        };
        if !inside {
            bail!(
                "clusterIP {address} lies outside the Service ranges {} and {}",
                SERVICE_CIDRS[0],
                SERVICE_CIDRS[1]
            );
        }
        let low = match address {
            IpAddr::V4(v4) => u16::from_be_bytes([v4.octets()[2], v4.octets()[3]]),
            IpAddr::V6(v6) => v6.segments()[7],
        };
        if self.services.contains(&low) || !self.taken.insert(address) {
            bail!("clusterIP {address} is already allocated");
        }
        Ok(())
    }

    /// Gives a Service's address back.
    pub fn release_service(&mut self, address: IpAddr) {
        if !self.taken.remove(&address)
            && let IpAddr::V4(v4) = address
        {
            self.services
                .remove(&u16::from_be_bytes([v4.octets()[2], v4.octets()[3]]));
        }
    }
}

fn pod_pair(node: u8, host: u8) -> (Ipv4Addr, Ipv6Addr) {
    let v6 = Ipv6Addr::new(
        0xfd00,
        0x10,
        0x244,
        u16::from(node),
        0,
        0,
        0,
        u16::from(host),
    );
    (Ipv4Addr::new(10, 244, node, host), v6)
}

fn service_pair(low: u16) -> (Ipv4Addr, Ipv6Addr) {
    let [high, low_byte] = low.to_be_bytes();
    (
        Ipv4Addr::new(10, 96, high, low_byte),
        Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, low),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_addresses_are_unique_and_reused_late() {
        let mut ipam = Ipam::default();
        let first = ipam.pod(1).unwrap();
        assert_eq!(first.0, Ipv4Addr::new(10, 244, 1, 2));
        assert_eq!(first.1.to_string(), "fd00:10:244:1::2");
        ipam.release_pod(first.0);
        assert_ne!(ipam.pod(1).unwrap(), first);
        let mut seen = BTreeSet::new();
        while let Ok(pair) = ipam.pod(1) {
            assert!(seen.insert(pair));
        }
        assert_eq!(seen.len(), 251);
    }

    #[test]
    fn given_cluster_ips_are_honoured_once() {
        let mut ipam = Ipam::default();
        let wanted: IpAddr = "10.96.0.21".parse().unwrap();
        ipam.reserve_service(wanted).unwrap();
        assert!(ipam.reserve_service(wanted).is_err());
        assert_ne!(IpAddr::from(ipam.service().unwrap().0), wanted);
        assert!(ipam.reserve_service("192.0.2.1".parse().unwrap()).is_err());
        ipam.release_service(wanted);
        ipam.reserve_service(wanted).unwrap();
    }
}
