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
