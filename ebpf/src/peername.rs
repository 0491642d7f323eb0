//! `cgroup/getpeername4,6`: each end sees the other end that it would see without a mesh. `accept()` asks here as well.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_netns_cookie};
use aya_ebpf::programs::SockAddrContext;
use warren_abi::{CONN_CLAIMED, CONN_ORIGINAL, FlowKey, Ip};

use crate::context::{
    addr_sock, conn_key, field, set_field, set_user_ip6, set_user_port, sock_ends, user_ip6,
    user_port,
};
use crate::maps::{CONN, POD, config, read_or_none};

const ALLOW: i32 = 1;

pub fn getpeername4(ctx: &SockAddrContext) -> i32 {
    let addr = ctx.sock_addr;
    let peer = Ip::from_v4_word(field!(addr, user_ip4));
    if let Some((ip, port)) = true_peer(ctx, addr, &peer)
        && ip.is_v4()
    {
        set_field!(addr, user_ip4 => ip.words[3]);
        set_user_port(addr, port);
    }
    ALLOW
}

pub fn getpeername6(ctx: &SockAddrContext) -> i32 {
    let addr = ctx.sock_addr;
    let peer = user_ip6(addr);
    if let Some((ip, port)) = true_peer(ctx, addr, &peer) {
        set_user_ip6(addr, &ip);
        set_user_port(addr, port);
    }
    ALLOW
}

#[inline(always)]
fn true_peer(ctx: &SockAddrContext, addr: *mut bpf_sock_addr, peer: &Ip) -> Option<(Ip, u16)> {
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    unsafe { POD.get(netns) }?;
    // The tunnel wants to see its sockets as they are.
    if config()?.is_tunnel(unsafe { bpf_get_current_cgroup_id() }) {
        return None;
    }
    let port = user_port(addr);
    let ends = sock_ends(addr_sock(addr));
    let as_client = FlowKey {
        client: ends.local,
        server: *peer,
        client_port: ends.local_port,
        server_port: port,
    };
    if let Some(conn) = read_or_none(&CONN, &conn_key(netns, &as_client))
        && conn.flags & CONN_ORIGINAL != 0
    {
        return Some((conn.ip, conn.port));
    }
    let as_server = FlowKey {
        client: *peer,
        server: ends.local,
        client_port: port,
        server_port: ends.local_port,
    };
    let conn = read_or_none(&CONN, &conn_key(netns, &as_server))?;
    (conn.flags & CONN_CLAIMED != 0).then_some((conn.ip, conn.port))
}
