//! Encoding and decoding of sock_diag messages (`linux/sock_diag.h`, `linux/inet_diag.h`), as pure functions.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const FLAGS_DUMP: u16 = 0x1 | 0x300;
const FLAGS_REQUEST_ACK: u16 = 0x1 | 0x4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `struct inet_diag_msg`.
const ANSWER: usize = 72;
/// Every TCP state (bits 1 to 12) but LISTEN (10).
const STATES: u32 = 0x1ffe & !(1 << 10);

/// One TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiagSocket {
    /// `AF_INET` or `AF_INET6`, as the socket was made.
    pub family: u8,
    /// TCP state.
    pub state: u8,
    /// Its own address, canonical.
    pub local: SocketAddr,
    /// Its peer's address, canonical.
    pub remote: SocketAddr,
    /// `struct inet_diag_sockid` as the kernel gave it: ports, addresses, device, cookie.
    id: [u8; 48],
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A socket.
    Socket(DiagSocket),
    /// No more.
    End,
    /// An error number, or 0 where a request was done.
    Error(i32),
}

/// Asks for all TCP sockets of `family` that do not listen.
pub fn dump_request(family: u8) -> Vec<u8> {
    request(SOCK_DIAG_BY_FAMILY, FLAGS_DUMP, family, STATES, &[0; 48])
}

/// Asks to end exactly this socket: the cookie in its id keeps a listener or a successor on the same ports from harm.
pub fn destroy_request(socket: &DiagSocket) -> Vec<u8> {
    request(
        SOCK_DESTROY,
        FLAGS_REQUEST_ACK,
        socket.family,
        u32::MAX,
        &socket.id,
    )
}

fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8; 48]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + REQUEST);
    out.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]);
    out.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    out.extend(states.to_ne_bytes());
    out.extend(id);
    out
}

/// Splits one datagram into its messages.
pub fn parse(mut data: &[u8]) -> impl Iterator<Item = io::Result<Parsed>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let length = word(data, 0).map(|l| l as usize);
        let Some(length) = length.filter(|l| (HEADER..=data.len()).contains(l)) else {
            data = &[];
            return Some(Err(malformed()));
        };
        let (message, rest) = data.split_at(length);
        // Messages are aligned to four bytes.
        data = &rest[rest.len().min(length.next_multiple_of(4) - length)..];
        Some(one(message).ok_or_else(malformed))
    })
}

fn one(message: &[u8]) -> Option<Parsed> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let body = message.get(HEADER..)?;
    match kind {
        NLMSG_DONE => Some(Parsed::End),
        NLMSG_ERROR => Some(Parsed::Error((word(body, 0)? as i32).wrapping_neg())),
        _ => socket(body).map(Parsed::Socket),
    }
}

fn socket(body: &[u8]) -> Option<DiagSocket> {
    let body = body.get(..ANSWER)?;
    let id: [u8; 48] = body[4..52].try_into().ok()?;
    let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    let v4 = i32::from(body[0]) == libc::AF_INET;
    let local = SocketAddr::new(ip(v4, id[4..20].try_into().ok()?), port(0));
    let remote = SocketAddr::new(ip(v4, id[20..36].try_into().ok()?), port(2));
    Some(DiagSocket {
        family: body[0],
        state: body[1],
        local,
        remote,
        id,
    })
}

fn ip(v4: bool, bytes: [u8; 16]) -> IpAddr {
    if v4 {
        return Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into();
    }
    IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a sock_diag message is cut short",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(body);
        out
    }

    fn body(family: i32, local: [u8; 16], remote: [u8; 16]) -> Vec<u8> {
        let mut out = vec![family as u8, 1, 0, 0];
        out.extend(80u16.to_be_bytes());
        out.extend(40000u16.to_be_bytes());
        out.extend(local);
        out.extend(remote);
        out.extend([7; 12]);
        out.extend([0; 20]);
        out
    }

    #[test]
    fn requests_have_the_kernels_layout() {
        let dump = dump_request(libc::AF_INET as u8);
        assert_eq!(dump.len(), 72);
        assert_eq!(dump[4..8], [20, 0, 1, 3]);
        assert_eq!(dump[16..20], [2, 6, 0, 0]);
        assert_eq!(u32::from_ne_bytes(dump[20..24].try_into().unwrap()), 0x1bfe);
    }

    #[test]
    fn a_socket_keeps_its_id_for_the_request_that_ends_it() {
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[10, 0, 0, 1]);
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&[10, 0, 0, 2]);
        let data = answer(20, &body(libc::AF_INET, local, remote));
        let Some(Ok(Parsed::Socket(found))) = parse(&data).next() else {
            panic!("no socket")
        };
        assert_eq!(found.local, "10.0.0.1:80".parse().unwrap());
        assert_eq!(found.remote, "10.0.0.2:40000".parse().unwrap());
        let destroy = destroy_request(&found);
        assert_eq!(destroy[4..8], [21, 0, 5, 0]);
        assert_eq!(destroy[24..72], data[20..68]);
    }

    #[test]
    fn mapped_addresses_become_v4() {
        let mapped = |last| Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets();
        let data = answer(20, &body(libc::AF_INET6, mapped(1), mapped(2)));
        let Some(Ok(Parsed::Socket(found))) = parse(&data).next() else {
            panic!("no socket")
        };
        assert_eq!(found.local, "10.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn ends_errors_and_garbage_are_told_apart() {
        let mut data = answer(3, &[0; 4]);
        data.extend(answer(2, &(-2i32).to_ne_bytes()));
        let parts: Vec<_> = parse(&data).map(Result::unwrap).collect();
        assert_eq!(parts, [Parsed::End, Parsed::Error(libc::ENOENT)]);
        for cut in 1..data.len() {
            parse(&data[..cut]).for_each(drop);
        }
        assert!(parse(&[1, 0, 0, 0]).next().unwrap().is_err());
    }
}
