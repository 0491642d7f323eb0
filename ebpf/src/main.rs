//! Warren's kernel programs: they take hold of enrolled pods' TCP connections at socket level. An unknown state closes, it never opens.
//!
//! ```text
//! connect4/6 --intent (socket storage)--> sock_ops TCP_CONNECT_CB --conns / flows--> sk_lookup (peer), getpeername, getsockopt
//!                                         sock_ops STATE_CB ------events-----------> agent
//! ```
#![no_std]
#![no_main]
// Loads of a context by constant offset: see `context`.
#![feature(asm_experimental_arch)]

mod connect;
mod context;
mod lookup;
mod maps;
mod peername;
mod sockops;
mod sockopt;

use aya_ebpf::macros::{cgroup_sock_addr, cgroup_sockopt, sk_lookup, sock_ops};
use aya_ebpf::programs::{SkLookupContext, SockAddrContext, SockOpsContext, SockoptContext};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect::connect4(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect::connect6(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    peername::getpeername4(&ctx)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    peername::getpeername6(&ctx)
}

#[sock_ops]
pub fn sock_ops(ctx: SockOpsContext) -> u32 {
    sockops::handle(&ctx)
}

#[sk_lookup]
pub fn steer(ctx: SkLookupContext) -> u32 {
    lookup::steer(&ctx)
}

#[cgroup_sockopt(getsockopt)]
pub fn getsockopt(ctx: SockoptContext) -> i32 {
    sockopt::get(&ctx)
}

#[cgroup_sockopt(setsockopt)]
pub fn setsockopt(ctx: SockoptContext) -> i32 {
    sockopt::set(&ctx)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
