//! A network namespace that plays a pod: loopback, and one address a family on it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};

/// The pod's IPv4 address.
pub(crate) const IP4: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
/// The pod's IPv6 address.
pub(crate) const IP6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
/// Both.
pub(crate) const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(IP4), IpAddr::V6(IP6)];

/// `struct in6_ifreq` of `linux/ipv6.h`.
#[repr(C)]
struct In6Ifreq {
    address: [u8; 16],
    prefix: u32,
    index: i32,
}

/// Brings `lo` up in this thread's network namespace and gives it the addresses.
pub(crate) fn configure() -> anyhow::Result<()> {
    let control = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    ioctl(
        &control,
        libc::SIOCSIFFLAGS,
        &mut request(|r| r.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16),
    )
    .context("lo up")?;
    let mut alias = request(|r| {
        let at = &raw mut r.ifr_ifru.ifru_addr;
        // SAFETY: sockaddr_in fits into the request's address, which is a sockaddr of the same size.
        unsafe { at.cast::<libc::sockaddr_in>().write(sockaddr(IP4)) };
    });
    alias.ifr_name[2] = b':' as libc::c_char;
    alias.ifr_name[3] = b'1' as libc::c_char;
    ioctl(&control, libc::SIOCSIFADDR, &mut alias).context("IPv4 address on lo")?;
    let control6 = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    let mut address = In6Ifreq {
        address: IP6.octets(),
        prefix: 128,
        index: 1,
    };
    ioctl(&control6, libc::SIOCSIFADDR, &mut address).context("IPv6 address on lo")
}

/// The cookie of this thread's network namespace.
pub(crate) fn netns_cookie() -> anyhow::Result<u64> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the option writes eight bytes into `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("SO_NETNS_COOKIE");
    }
    Ok(cookie)
}

fn request(fill: impl FnOnce(&mut libc::ifreq)) -> libc::ifreq {
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    fill(&mut request);
    request
}

fn sockaddr(ip: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(ip.octets()),
        },
        sin_zero: [0; 8],
    }
}

fn ioctl<T>(socket: &Socket, code: libc::c_ulong, argument: &mut T) -> anyhow::Result<()> {
    // SAFETY: the argument is the structure that the request names, and outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), code as _, &raw mut *argument) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}
