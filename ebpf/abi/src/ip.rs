//! One form for both families.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv6 address as four words in network byte order; an IPv4 address as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), so that
/// a key names one address once whatever the family of the socket that carries it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ip {
    /// Words 0 to 3, each as it lies in memory on the wire.
    pub words: [u32; 4],
}

/// Word 2 of every IPv4-mapped address.
pub const MAPPED_WORD: u32 = 0xffff_u32.to_be();

impl Ip {
    /// From the network-order word that the kernel uses for an IPv4 address.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self {
            words: [0, 0, MAPPED_WORD, word],
        }
    }

    /// Whether it stands for an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED_WORD
    }

    /// All zero: no address.
    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == 0
    }
}

impl From<IpAddr> for Ip {
    fn from(ip: IpAddr) -> Self {
        let bytes = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let word =
            |i: usize| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        Self {
            words: [word(0), word(4), word(8), word(12)],
        }
    }
}

impl From<Ip> for IpAddr {
    fn from(ip: Ip) -> Self {
        if ip.is_v4() {
            return IpAddr::V4(Ipv4Addr::from(ip.words[3].to_ne_bytes()));
        }
        let mut bytes = [0u8; 16];
        for (i, word) in ip.words.iter().enumerate() {
            bytes[i * 4..i * 4 + 4].copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(bytes))
    }
}
