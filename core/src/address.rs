//! Addresses in canonical form, and addresses bound to a named network.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Returns `ip` with an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2) turned into the IPv4 address
/// that it stands for, so that every index has one key for one address.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// An address family, of the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, mapped addresses included.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family that `ip` belongs to.
    pub fn of(ip: IpAddr) -> Self {
        if canonical(ip).is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// [`canonical`] for an address with a port.
pub fn canonical_socket(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(addr.ip()), addr.port())
}

/// [`canonical`] for a network: one inside `::ffff:0:0/96` becomes the IPv4 network that it stands for; all others,
/// `::/0` included, stay as they are, so an IPv6 network never holds an IPv4 address.
pub fn canonical_net(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(length)) => Ipv4Net::new(v4, length).map_or(net, IpNet::V4),
        _ => net,
    }
}

/// An address on a named network; the empty name is the default network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkAddress {
    /// The network's name.
    pub network: Arc<str>,
    /// The canonical address.
    pub ip: IpAddr,
}

impl NetworkAddress {
    /// An address on the default network.
    pub fn local(ip: IpAddr) -> Self {
        Self::new("", ip)
    }

    /// An address on a named network.
    pub fn new(network: impl Into<Arc<str>>, ip: IpAddr) -> Self {
        Self {
            network: network.into(),
            ip: canonical(ip),
        }
    }
}

/// Writes the xDS resource alias: `network/ip`.
impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_forms_are_v4() {
        let ip = |s: &str| s.parse::<IpAddr>().expect("an address");
        assert_eq!(canonical(ip("::ffff:10.0.0.1")), ip("10.0.0.1"));
        assert_eq!(
            canonical(ip("::10.0.0.1")),
            ip("::10.0.0.1"),
            "compatible is not mapped"
        );
        assert_eq!(Family::of(ip("::ffff:10.0.0.1")), Family::V4);
        assert_eq!(Family::of(ip("fd00::1")), Family::V6);
        assert_eq!(
            NetworkAddress::local(ip("::ffff:10.0.0.1")).to_string(),
            "/10.0.0.1"
        );
        assert_eq!(
            NetworkAddress::new("east", ip("fd00::1")).to_string(),
            "east/fd00::1"
        );
        let socket = canonical_socket(SocketAddr::new(ip("::ffff:10.0.0.1"), 80));
        assert_eq!(socket.to_string(), "10.0.0.1:80");
    }

    #[test]
    fn only_networks_inside_the_mapped_range_become_v4() {
        for (given, expected) in [
            ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::ffff:0:0/95"),
            ("::/0", "::/0"),
            ("fd00::/8", "fd00::/8"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            let net = |s: &str| s.parse::<IpNet>().expect("a network");
            assert_eq!(canonical_net(net(given)), net(expected), "{given}");
        }
    }
}
