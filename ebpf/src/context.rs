//! Reads and writes of the kernel's context structures.
//!
//! Every access is volatile and names one field: compilers merge neighbouring loads, which the verifier refuses
//! ("dereference of modified ctx ptr").

use aya_ebpf::bindings::{bpf_sk_lookup, bpf_sock, bpf_sock_addr, bpf_sock_ops};
use warren_abi::Ip;

pub const AF_INET6: u32 = 10;
pub const IPPROTO_TCP: u32 = 6;

/// Reads one field of a context.
macro_rules! field {
    ($ptr:expr, $($path:tt)+) => {
        unsafe { core::ptr::addr_of!((*$ptr).$($path)+).read_volatile() }
    };
}
pub(crate) use field;

/// Writes one field of a context.
macro_rules! set_field {
    ($ptr:expr, $field:ident $([$index:literal])? => $value:expr) => {
        unsafe { core::ptr::addr_of_mut!((*$ptr).$field $([$index])?).write_volatile($value) }
    };
}
pub(crate) use set_field;

/// Reads a 32-bit word of a structure by one instruction with a constant offset. Where both arms of a branch read a context,
/// compilers turn the two loads into one with a computed offset, volatile or not; they cannot do so with this.
macro_rules! word {
    ($ty:ty, $ptr:expr, $field:ident, $index:literal) => {{
        let value: u64;
        unsafe {
            core::arch::asm!(
                "{0} = *(u32 *)({1} + {2})",
                out(reg) value,
                in(reg) $ptr,
                const core::mem::offset_of!($ty, $field) + 4 * $index,
                options(readonly, nostack, preserves_flags)
            );
        }
        value as u32
    }};
}

/// Reads a field of four words.
macro_rules! words {
    ($ty:ty, $ptr:expr, $field:ident) => {
        Ip {
            words: [
                word!($ty, $ptr, $field, 0),
                word!($ty, $ptr, $field, 1),
                word!($ty, $ptr, $field, 2),
                word!($ty, $ptr, $field, 3),
            ],
        }
    };
}

/// Reads local and remote address of a structure that has both, by family.
macro_rules! addresses {
    ($ty:ty, $ptr:expr, $local4:ident, $local6:ident, $remote4:ident, $remote6:ident) => {
        if field!($ptr, family) == AF_INET6 {
            (words!($ty, $ptr, $local6), words!($ty, $ptr, $remote6))
        } else {
            (
                Ip::from_v4_word(word!($ty, $ptr, $local4, 0)),
                Ip::from_v4_word(word!($ty, $ptr, $remote4, 0)),
            )
        }
    };
}

/// Both ends of a socket, as that socket sees them; ports in host byte order.
#[derive(Clone, Copy)]
pub struct Ends {
    pub local: Ip,
    pub remote: Ip,
    pub local_port: u16,
    pub remote_port: u16,
}

#[inline(always)]
pub fn user_ip6(addr: *mut bpf_sock_addr) -> Ip {
    words!(bpf_sock_addr, addr, user_ip6)
}

#[inline(always)]
pub fn user_port(addr: *mut bpf_sock_addr) -> u16 {
    u16::from_be(field!(addr, user_port) as u16)
}

#[inline(always)]
pub fn set_user_ip6(addr: *mut bpf_sock_addr, ip: &Ip) {
    set_field!(addr, user_ip6[0] => ip.words[0]);
    set_field!(addr, user_ip6[1] => ip.words[1]);
    set_field!(addr, user_ip6[2] => ip.words[2]);
    set_field!(addr, user_ip6[3] => ip.words[3]);
}

#[inline(always)]
pub fn set_user_port(addr: *mut bpf_sock_addr, port: u16) {
    let mut value = u64::from(port);
    // Not by the compiler's own instruction: that one it moves up to where no port was chosen, and the verifier refuses to swap the
    // bytes of a register that nobody wrote.
    unsafe {
        core::arch::asm!("{0} = be16 {0}", inout(reg) value, options(nostack, preserves_flags));
    }
    set_field!(addr, user_port => value as u32);
}

/// The socket behind an address hook.
#[inline(always)]
pub fn addr_sock(addr: *mut bpf_sock_addr) -> *mut bpf_sock {
    field!(addr, __bindgen_anon_1.sk)
}

#[inline(always)]
pub fn ops_ends(ops: *mut bpf_sock_ops) -> Ends {
    let (local, remote) = addresses!(
        bpf_sock_ops,
        ops,
        local_ip4,
        local_ip6,
        remote_ip4,
        remote_ip6
    );
    Ends {
        local,
        remote,
        local_port: field!(ops, local_port) as u16,
        remote_port: u32::from_be(field!(ops, remote_port)) as u16,
    }
}

#[inline(always)]
pub fn sock_ends(sk: *mut bpf_sock) -> Ends {
    let (local, remote) = addresses!(bpf_sock, sk, src_ip4, src_ip6, dst_ip4, dst_ip6);
    Ends {
        local,
        remote,
        local_port: field!(sk, src_port) as u16,
        remote_port: u16::from_be(field!(sk, dst_port)),
    }
}

#[inline(always)]
pub fn lookup_ends(lookup: *mut bpf_sk_lookup) -> Ends {
    let (local, remote) = addresses!(
        bpf_sk_lookup,
        lookup,
        local_ip4,
        local_ip6,
        remote_ip4,
        remote_ip6
    );
    Ends {
        local,
        remote,
        local_port: field!(lookup, local_port) as u16,
        remote_port: u16::from_be(field!(lookup, remote_port)),
    }
}

impl Ends {
    /// The flow where this socket is the client.
    #[inline(always)]
    pub fn flow_as_client(&self) -> warren_abi::FlowKey {
        warren_abi::FlowKey {
            client: self.local,
            server: self.remote,
            client_port: self.local_port,
            server_port: self.remote_port,
        }
    }

    /// The flow where this socket is the server.
    #[inline(always)]
    pub fn flow_as_server(&self) -> warren_abi::FlowKey {
        warren_abi::FlowKey {
            client: self.remote,
            server: self.local,
            client_port: self.remote_port,
            server_port: self.local_port,
        }
    }
}

/// A flow inside one network namespace.
#[inline(always)]
pub fn conn_key(netns: u64, flow: &warren_abi::FlowKey) -> warren_abi::ConnKey {
    warren_abi::ConnKey {
        netns,
        client: flow.client,
        server: flow.server,
        client_port: flow.client_port,
        server_port: flow.server_port,
        reserved: 0,
    }
}
