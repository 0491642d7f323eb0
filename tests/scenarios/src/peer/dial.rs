//! Makes one connection the way the command line asks for.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpFastOpenConnect;
use socket2::{Domain, Protocol, Socket, Type};

use super::args::{Dial, Family};
use super::raw;
use super::report::{Failure, Outcome};

/// Connects, entering addresses and time into `outcome`.
pub(crate) fn dial(dial: &Dial, outcome: &mut Outcome) -> Result<Socket, Failure> {
    let to = resolve(&dial.dest, dial.family).map_err(Failure::at("resolve"))?;
    outcome.asked = Some(to);
    let socket = make(dial, to).map_err(Failure::at("socket"))?;
    if let Some(first) = &dial.unspec_after {
        let first = resolve(first, dial.family).map_err(Failure::at("resolve"))?;
        connect(&socket, first, dial, outcome).map_err(Failure::at("connect"))?;
        raw::disconnect(&socket).map_err(Failure::at("unspec"))?;
    }
    let begin = Instant::now();
    let result = connect(&socket, to, dial, outcome);
    outcome.connect_us = begin.elapsed().as_micros() as u64;
    result.map_err(Failure::at("connect"))?;
    outcome.local = socket.local_addr().ok().and_then(|a| a.as_socket());
    outcome.peer = socket.peer_addr().ok().and_then(|a| a.as_socket());
    let _ = socket.set_tcp_nodelay(true);
    Ok(socket)
}

/// Looks a `host:port` up in a family; a mapped one gives `::ffff:a.b.c.d`.
pub(crate) fn resolve(dest: &str, family: Family) -> io::Result<SocketAddr> {
    let fits = |addr: &SocketAddr| match family {
        Family::Any => true,
        Family::V4 | Family::Mapped => addr.is_ipv4(),
        Family::V6 => addr.is_ipv6(),
    };
    let found = dest
        .to_socket_addrs()?
        .find(fits)
        .ok_or_else(|| io::Error::other(format!("{dest} has no address of family {family:?}")))?;
    Ok(match (family, found.ip()) {
        (Family::Mapped, IpAddr::V4(ip)) => mapped(ip.to_ipv6_mapped(), found.port()),
        _ => found,
    })
}

fn mapped(ip: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddrV6::new(ip, port, 0, 0).into()
}

fn make(dial: &Dial, to: SocketAddr) -> io::Result<Socket> {
    let protocol = if dial.mptcp {
        Protocol::MPTCP
    } else {
        Protocol::TCP
    };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol))?;
    if let Some(device) = &dial.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(bind) = dial.bind {
        socket.set_reuse_address(true)?;
        socket.bind(&bind.into())?;
    }
    if dial.tfo {
        setsockopt(&socket, TcpFastOpenConnect, &true)?;
    }
    let limit = Some(Duration::from_millis(dial.timeout_ms));
    socket.set_read_timeout(limit)?;
    socket.set_write_timeout(limit)?;
    Ok(socket)
}

fn connect(socket: &Socket, to: SocketAddr, dial: &Dial, outcome: &mut Outcome) -> io::Result<()> {
    if !dial.nonblocking {
        // SO_SNDTIMEO bounds a blocking connect; it then says EINPROGRESS, which is a time-out here.
        return socket
            .connect(&to.into())
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINPROGRESS) => io::Error::from_raw_os_error(libc::ETIMEDOUT),
                _ => error,
            });
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            outcome.in_progress = true;
            raw::wait_writable(socket, dial.timeout_ms)?;
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
        }
        other => other?,
    }
    socket.set_nonblocking(false)
}
