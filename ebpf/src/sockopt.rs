//! `cgroup/getsockopt` and `cgroup/setsockopt`: how the tunnel asks and tells the kernel, without any BPF privilege.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_netns_cookie};
use aya_ebpf::programs::SockoptContext;
use warren_abi::{
    CONN_CLAIMED, CONN_ORIGINAL, ClientAddr, Conn, INTENT_DECLARE, Intent, OriginalDst, SOL_WARREN,
    WARREN_CLIENT_ADDR, WARREN_ORIGINAL_DST,
};

use crate::context::{conn_key, field, set_field, sock_ends};
use crate::maps::{CONN, config, intent_or_new, read_or_none};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
const SO_ORIGINAL_DST: i32 = 80;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Options larger than this reach the program cut short; an option length of 0 makes the kernel use the caller's own buffer.
const PAGE: i32 = 4096;

#[repr(C)]
struct SockaddrIn {
    family: u16,
    port: u16,
    ip: u32,
    zero: [u32; 2],
}

#[repr(C)]
struct SockaddrIn6 {
    family: u16,
    port: u16,
    flow: u32,
    ip: [u32; 4],
    scope: u32,
}

pub fn get(ctx: &SockoptContext) -> i32 {
    let opt = ctx.sockopt;
    let (level, name) = (field!(opt, level), field!(opt, optname));
    let ours = level == SOL_WARREN && name == WARREN_ORIGINAL_DST;
    let v4 = level == SOL_IP && name == SO_ORIGINAL_DST;
    let v6 = level == SOL_IPV6 && name == SO_ORIGINAL_DST;
    if !(ours || v4 || v6) {
        if field!(opt, optlen) > PAGE {
            set_field!(opt, optlen => 0);
        }
        return ALLOW;
    }
    let Some(conn) = original(ctx) else {
        return ALLOW;
    };
    let written = if ours {
        write(
            ctx,
            OriginalDst {
                ip: conn.ip,
                backend: conn.backend,
                port: conn.port,
                backend_port: conn.backend_port,
            },
        )
    } else if v4 && conn.ip.is_v4() {
        write(
            ctx,
            SockaddrIn {
                family: AF_INET,
                port: conn.port.to_be(),
                ip: conn.ip.words[3],
                zero: [0; 2],
            },
        )
    } else if v6 && !conn.ip.is_v4() {
        write(
            ctx,
            SockaddrIn6 {
                family: AF_INET6,
                port: conn.port.to_be(),
                flow: 0,
                ip: conn.ip.words,
                scope: 0,
            },
        )
    } else {
        false
    };
    if written {
        set_field!(opt, retval => 0);
    }
    ALLOW
}

pub fn set(ctx: &SockoptContext) -> i32 {
    let opt = ctx.sockopt;
    if field!(opt, level) != SOL_WARREN {
        if field!(opt, optlen) > PAGE {
            set_field!(opt, optlen => 0);
        }
        return ALLOW;
    }
    if field!(opt, optname) != WARREN_CLIENT_ADDR || !from_tunnel() {
        return REFUSE;
    }
    let value: *const ClientAddr = field!(opt, __bindgen_anon_2.optval).cast();
    let end: *const ClientAddr = field!(opt, __bindgen_anon_3.optval_end).cast();
    if unsafe { value.add(1) } > end {
        return REFUSE;
    }
    let client = unsafe { value.read_unaligned() };
    let slot = intent_or_new(sock(ctx));
    if slot.is_null() {
        return REFUSE;
    }
    let conn = Conn {
        ip: client.ip,
        port: client.port,
        flags: CONN_CLAIMED,
        ..Conn::default()
    };
    unsafe {
        *slot = Intent {
            conn,
            kind: INTENT_DECLARE,
            ..Intent::default()
        }
    };
    // Taken here: the kernel's own code, which knows no such option, is not to run.
    set_field!(opt, optlen => -1);
    ALLOW
}

#[inline(always)]
fn from_tunnel() -> bool {
    config().is_some_and(|c| c.is_tunnel(unsafe { bpf_get_current_cgroup_id() }))
}

/// The original destination of a connection that the tunnel accepted.
#[inline(always)]
fn original(ctx: &SockoptContext) -> Option<Conn> {
    if !from_tunnel() {
        return None;
    }
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let flow = sock_ends(sock(ctx)).flow_as_server();
    read_or_none(&CONN, &conn_key(netns, &flow)).filter(|conn| conn.flags & CONN_ORIGINAL != 0)
}

/// Writes the answer where the caller's buffer holds it.
#[inline(always)]
fn write<T>(ctx: &SockoptContext, answer: T) -> bool {
    let opt = ctx.sockopt;
    let value: *mut T = field!(opt, __bindgen_anon_2.optval).cast();
    let end: *mut T = field!(opt, __bindgen_anon_3.optval_end).cast();
    if unsafe { value.add(1) } > end {
        return false;
    }
    unsafe { value.write_unaligned(answer) };
    set_field!(opt, optlen => size_of::<T>() as i32);
    true
}

#[inline(always)]
fn sock(ctx: &SockoptContext) -> *mut bpf_sock {
    field!(ctx.sockopt, __bindgen_anon_1.sk)
}
