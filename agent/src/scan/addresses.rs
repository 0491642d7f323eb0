//! A pod's addresses, read inside its network namespace: one a family, as Kubernetes counts them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The interface that a Kubernetes runtime asks the CNI for.
const FIRST: &str = "eth0";
/// Flags of an IPv6 address (`IFA_F_*`): one of a changing series, one that is not in use (yet), one that was set for good.
const TEMPORARY: u32 = 0x01;
const UNUSABLE: u32 = 0x08 | 0x40;
const PERMANENT: u32 = 0x80;

/// The addresses of the network namespace that this thread is in.
pub fn of_this_namespace() -> io::Result<Vec<IpAddr>> {
    let v4 = getifaddrs()?.filter_map(|i| {
        let ip = i.address?.as_sockaddr_in()?.ip();
        let usable = !i.flags.contains(InterfaceFlags::IFF_LOOPBACK) && !ip.is_link_local();
        usable.then_some((i.interface_name, ip))
    });
    let v4 = v4.collect();
    // There is no such file where IPv6 is off.
    let v6 = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    Ok(choose(v4, &v6))
}

/// The first of each family: of `eth0` if it has any, and set for good rather than made up from an announcement.
fn choose(v4: Vec<(String, Ipv4Addr)>, if_inet6: &str) -> Vec<IpAddr> {
    let first = v4.iter().min_by_key(|(name, _)| name != FIRST);
    let v6 = if_inet6.lines().filter_map(parse);
    let second = v6.min_by_key(|a| {
        (
            a.name != FIRST,
            a.flags & PERMANENT == 0,
            a.flags & TEMPORARY != 0,
        )
    });
    let first = first.map(|(_, ip)| IpAddr::from(*ip));
    first
        .into_iter()
        .chain(second.map(|a| a.ip.into()))
        .collect()
}

struct V6<'a> {
    ip: Ipv6Addr,
    flags: u32,
    name: &'a str,
}

/// `fd00…01 02 40 00 80 eth0`: address, index, prefix length, scope (0 is global), flags, name.
fn parse(line: &str) -> Option<V6<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let ip = u128::from_str_radix(fields.next()?, 16).ok()?.into();
    let scope = u32::from_str_radix(fields.nth(2)?, 16).ok()?;
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let name = fields.next()?;
    (scope == 0 && flags & UNUSABLE == 0).then_some(V6 { ip, flags, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(v4: &[(&str, &str)], v6: &str) -> Vec<String> {
        let v4 = v4
            .iter()
            .map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap()));
        choose(v4.collect(), v6)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_first_interface_goes_before_others() {
        let v6 = "fd000000000000000000000000000009 03 40 00 80     net1\n\
                  fd000000000000000000000000000001 02 40 00 80     eth0\n\
                  fe800000000000000000000000000001 02 40 20 80     eth0\n\
                  00000000000000000000000000000001 01 80 10 80       lo\n";
        let v4 = [
            ("net1", "192.168.0.9"),
            ("eth0", "10.0.0.1"),
            ("eth0", "10.0.0.2"),
        ];
        assert_eq!(chosen(&v4, v6), ["10.0.0.1", "fd00::1"]);
        assert_eq!(chosen(&v4[..1], ""), ["192.168.0.9"]);
        assert_eq!(chosen(&[], "garbage\n\n"), Vec::<String>::new());
    }

    #[test]
    fn an_address_that_was_set_goes_before_one_from_an_announcement() {
        let v6 = "fd00000000000000000000000000000a 02 40 00 01     eth0\n\
                  fd00000000000000000000000000000b 02 40 00 00     eth0\n\
                  fd00000000000000000000000000000c 02 40 00 80     eth0\n\
                  fd00000000000000000000000000000d 02 40 00 c0     eth0\n";
        assert_eq!(chosen(&[], v6), ["fd00::c"]);
    }

    #[test]
    fn own_addresses_are_read_without_loopback() {
        let own = of_this_namespace().unwrap();
        assert!(
            own.len() <= 2 && !own.iter().any(IpAddr::is_loopback),
            "{own:?}"
        );
    }
}
