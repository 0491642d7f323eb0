//! Sockets: made in pods' network namespaces, asked and told by private options, reset.

mod buffers;
mod maker;
mod options;
mod ports;

pub use buffers::{bound_if_near, bound_local};
pub use maker::{SocketMaker, Sockets};
pub use options::{Kernel, OriginalDestination, SocketOptions};
pub use ports::DeliveryPorts;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpRepair;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use warren_api::node::{Family, Traffic};

/// Options of a socket that has been made: no waiting for more bytes, and a close is a reset until [`close_cleanly`] says
/// otherwise. So a connection that fails in any way, the end of this process included, never looks to an application like
/// one that ended as it should.
pub fn prepare(s: &impl AsFd) {
    let s = SockRef::from(s);
    // Each fails only on a socket whose connection is gone already.
    let _ = s.set_linger(Some(Duration::ZERO));
    let _ = s.set_tcp_nodelay(true);
    // An urgent byte is part of the stream (RFC 6093 §6); only its mark is lost.
    let _ = s.set_out_of_band_inline(true);
}

/// Options of a listening socket, which its connections inherit. Cheaper than setting them on each connection.
pub fn prepare_listener(s: &impl AsFd, traffic: Traffic) {
    match traffic {
        Traffic::Outbound => {
            prepare(s);
            bound_local(s);
        }
        Traffic::Plaintext => {
            prepare(s);
            keep_alive(s);
        }
        // The tunnels' own protocol tells an end from a failure, and finds a dead peer by PING.
        Traffic::Hbone => drop(SockRef::from(s).set_tcp_nodelay(true)),
    }
}

/// Finds a dead peer beyond this node.
pub fn keep_alive(s: &impl AsFd) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(180))
        .with_interval(Duration::from_secs(30))
        .with_retries(9);
    let _ = SockRef::from(s).set_tcp_keepalive(&keepalive);
}

/// Both directions have ended: what is still on its way may arrive.
pub fn close_cleanly(s: &impl AsFd) {
    let _ = SockRef::from(s).set_linger(None);
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
    let connected = timeout(limit, socket.connect(to)).await;
    connected.map_err(|_| io::ErrorKind::TimedOut)?
}
