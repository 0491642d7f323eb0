//! Finds and ends TCP connections of a pod by sock_diag(7) netlink, over a socket made inside the pod's network namespace.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

mod message;

pub use message::{DiagSocket, Parsed, parse};
use message::{destroy_request, dump_request};

/// Longest wait for one answer of the kernel, in seconds.
const ANSWER_LIMIT: i64 = 2;

/// One connection: the client's address and the server's.
pub type Pair = (SocketAddr, SocketAddr);

/// Ends every socket, in whatever state but LISTEN, that is either end of one of `pairs`. Returns how many were ended.
///
/// # Errors
/// The kernel refuses (CAP_NET_ADMIN in the namespace is missing, or CONFIG_INET_DIAG_DESTROY) or does not answer.
pub fn destroy(diag: BorrowedFd<'_>, pairs: &HashSet<Pair>) -> io::Result<usize> {
    setsockopt(
        &diag,
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(ANSWER_LIMIT),
    )?;
    let mut ended = 0;
    for family in [libc::AF_INET, libc::AF_INET6] {
        for socket in dump(diag, family as u8)?
            .iter()
            .filter(|s| is_end_of(s, pairs))
        {
            ended += usize::from(destroy_one(diag, socket)?);
        }
    }
    Ok(ended)
}

fn is_end_of(socket: &DiagSocket, pairs: &HashSet<Pair>) -> bool {
    let (local, remote) = (socket.local, socket.remote);
    pairs.contains(&(local, remote)) || pairs.contains(&(remote, local))
}

/// The TCP sockets of one family in the namespace, without listeners.
pub fn dump(diag: BorrowedFd<'_>, family: u8) -> io::Result<Vec<DiagSocket>> {
    send(diag.as_raw_fd(), &dump_request(family), MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0u8; 32 * 1024];
    loop {
        let length = receive(diag, &mut buffer)?;
        for part in parse(&buffer[..length]) {
            match part? {
                Parsed::Socket(socket) => found.push(socket),
                Parsed::End => return Ok(found),
                Parsed::Error(code) => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }
}

/// Ends one socket; false if it was gone already.
fn destroy_one(diag: BorrowedFd<'_>, socket: &DiagSocket) -> io::Result<bool> {
    send(
        diag.as_raw_fd(),
        &destroy_request(socket),
        MsgFlags::empty(),
    )?;
    let mut buffer = [0u8; 4096];
    loop {
        let length = receive(diag, &mut buffer)?;
        for part in parse(&buffer[..length]) {
            match part? {
                Parsed::Error(0) => return Ok(true),
                Parsed::Error(libc::ENOENT | libc::ESTALE) => return Ok(false),
                Parsed::Error(code) => return Err(io::Error::from_raw_os_error(code)),
                Parsed::Socket(_) | Parsed::End => {}
            }
        }
    }
}

fn receive(diag: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(diag.as_fd().as_raw_fd(), buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "sock_diag gave no answer",
                ));
            }
            other => return Ok(other?),
        }
    }
}

/// A pair in canonical form, IPv4-mapped addresses turned into IPv4.
pub fn pair(client: (IpAddr, u16), server: (IpAddr, u16)) -> Pair {
    (
        SocketAddr::new(client.0.to_canonical(), client.1),
        SocketAddr::new(server.0.to_canonical(), server.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn an_established_connection_is_found_at_both_ends() {
        let diag = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        );
        let diag = diag.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ends = HashSet::from([(client.local_addr().unwrap(), client.peer_addr().unwrap())]);
        let found = dump(diag.as_fd(), libc::AF_INET as u8).unwrap();
        assert_eq!(found.iter().filter(|s| is_end_of(s, &ends)).count(), 2);
        assert!(
            found
                .iter()
                .all(|s| s.local != listener.local_addr().unwrap() || s.remote.port() != 0)
        );
    }
}
