//! What is not TCP: a datagram, an ICMP echo, and the namespace's addresses.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::args::{Datagram, Family};
use super::dial::resolve;
use super::report::{Failure, Outcome};

/// One datagram there and back.
pub(crate) fn udp(args: &Datagram) -> Outcome {
    outcome(args, |args, to| {
        let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
            .parse()
            .map_err(io::Error::other)?;
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(Duration::from_millis(args.timeout_ms)))?;
        socket.connect(to)?;
        socket.send(b"ping")?;
        let mut back = [0; 16];
        let n = socket.recv(&mut back)?;
        expect(&back[..n] == b"ping", "another datagram came back")
    })
}

/// One ICMP echo request and its reply, on a raw socket.
pub(crate) fn ping(args: &Datagram) -> Outcome {
    let with_port = Datagram {
        dest: if args.dest.contains(':') {
            format!("[{}]:0", args.dest)
        } else {
            format!("{}:0", args.dest)
        },
        ..*args
    };
    outcome(&with_port, |args, to| {
        let (domain, protocol) = match to {
            SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(Duration::from_millis(args.timeout_ms)))?;
        let id = (std::process::id() as u16).to_be_bytes();
        socket.send_to(&echo_request(to.ip(), id), &to.into())?;
        let end = Instant::now() + Duration::from_millis(args.timeout_ms);
        let mut packet = [0; 1500];
        while Instant::now() < end {
            let n = socket.read(&mut packet)?;
            if is_reply(&packet[..n], to.ip(), id) {
                return Ok(());
            }
        }
        Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
    })
}

/// All addresses of this namespace's interfaces but loopback and link-local ones.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    all.filter_map(|i| i.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
        })
        .collect()
}

fn outcome(args: &Datagram, run: impl Fn(&Datagram, SocketAddr) -> io::Result<()>) -> Outcome {
    let mut outcome = Outcome::default();
    let family = if args.family == Family::Mapped {
        Family::V4
    } else {
        args.family
    };
    let result = resolve(&args.dest, family)
        .map_err(Failure::at("resolve"))
        .and_then(|to| {
            outcome.asked = Some(to);
            run(args, to).map_err(Failure::at("receive"))
        });
    match result {
        Ok(()) => outcome.ok = true,
        Err(failure) => outcome.fail(&failure),
    }
    outcome
}

/// RFC 792 and RFC 4443 echo request; the kernel fills in the checksum of ICMPv6 only.
fn echo_request(to: IpAddr, id: [u8; 2]) -> [u8; 16] {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut packet = [
        kind, 0, 0, 0, id[0], id[1], 0, 1, b'w', b'a', b'r', b'r', b'e', b'n', b'!', b'!',
    ];
    if to.is_ipv4() {
        let mut sum: u32 = packet
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        packet[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    packet
}

fn is_reply(packet: &[u8], from: IpAddr, id: [u8; 2]) -> bool {
    // A raw IPv4 socket gives the IP header as well, an IPv6 one does not.
    let (at, kind) = if from.is_ipv4() { (20, 0) } else { (0, 129) };
    packet.get(at) == Some(&kind) && packet.get(at + 4..at + 6) == Some(&id[..])
}

fn expect(held: bool, message: &str) -> io::Result<()> {
    if held {
        Ok(())
    } else {
        Err(io::Error::other(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_an_echo_request_verifies() {
        let packet = echo_request("10.0.0.1".parse().unwrap(), [0x12, 0x34]);
        let mut sum: u32 = packet
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }
}
