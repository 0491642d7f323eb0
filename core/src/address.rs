//! Addresses in canonical form, and addresses bound to a named network.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Returns `ip` with an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2) turned into the IPv4 address
/// that it stands for, so that every index has one key for one address.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// [`canonical`] for an address with a port.
pub fn canonical_socket(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(addr.ip()), addr.port())
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
        Self { network: Arc::from(""), ip: canonical(ip) }
    }
}

/// Writes the xDS resource alias: `network/ip`.
impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ip)
    }
}
