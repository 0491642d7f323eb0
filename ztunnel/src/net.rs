//! Sockets: made in pods' network namespaces, asked and told by private options, reset.

mod maker;
mod options;
mod ports;

pub use maker::{SocketMaker, Sockets};
pub use options::{Kernel, OriginalDestination, SocketOptions};
pub use ports::DeliveryPorts;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpRepair;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use warren_api::node::Family;

/// Options of every leg: no waiting for more bytes, a dead peer is found, and a close is a reset until
/// [`close_cleanly`] says otherwise. So a connection that fails in any way, the end of this process included, never looks
/// to an application like one that ended as it should.
pub fn prepare(s: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(180))
        .with_interval(Duration::from_secs(30))
        .with_retries(9);
    // Each fails only on a socket whose connection is gone already.
    let _ = s.set_zero_linger();
    let _ = s.set_nodelay(true);
    let _ = SockRef::from(s).set_tcp_keepalive(&keepalive);
}

/// Both directions have ended: what is still on its way may arrive.
pub fn close_cleanly(s: &TcpStream) {
    let _ = SockRef::from(s).set_linger(None);
}

/// Options of a connection between tunnels, whose own protocol tells an end from a failure.
pub fn prepare_tunnel(s: &TcpStream) {
    prepare(s);
    close_cleanly(s);
}

/// Binds to an address and port that other sockets may be using already, such as a client's own: repair mode
/// (`TCP_REPAIR`) lets them share, and the kernel tells connections apart by their peers.
pub fn bind_shared(s: &TcpSocket, to: SocketAddr) -> io::Result<()> {
    setsockopt(s, TcpRepair, &1)?;
    let bound = s.bind(to);
    setsockopt(s, TcpRepair, &0)?;
    bound
}

/// Whether a connect failed because these four addresses and ports are in use.
pub fn is_in_use(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

/// The family of an address.
pub fn family(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// Connects within `limit`.
pub async fn connect(socket: TcpSocket, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = timeout(limit, socket.connect(to))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    prepare(&stream);
    Ok(stream)
}
