//! `sk_lookup` in each enrolled pod's network namespace: who gets an incoming SYN.

use aya_ebpf::programs::SkLookupContext;
use warren_abi::{
    Counter, Ip, LISTENER_HBONE, LISTENER_OUTBOUND, LISTENER_PLAINTEXT, ListenerKey, PORT_HBONE,
    PORT_OUTBOUND,
};

use crate::context::{Ends, IPPROTO_TCP, field, lookup_ends};
use crate::maps::{FLOW, LISTENER, config, count, read_or_none};

const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;
const LO_IFINDEX: u32 = 1;

pub fn steer(ctx: &SkLookupContext) -> u32 {
    if field!(ctx.lookup, protocol) != IPPROTO_TCP {
        return SK_PASS;
    }
    let ends = lookup_ends(ctx.lookup);
    if from_inside(field!(ctx.lookup, ingress_ifindex), &ends) {
        if ends.local_port == PORT_OUTBOUND && !is_loopback(&ends.local) {
            return assign(ctx, &ends.local, LISTENER_OUTBOUND);
        }
        return SK_PASS;
    }
    if ends.local_port == PORT_HBONE {
        count(Counter::Hbone);
        return assign(ctx, &ends.local, LISTENER_HBONE);
    }
    if authorised(&ends) {
        count(Counter::DirectAccepted);
        return SK_PASS;
    }
    count(Counter::Plaintext);
    assign(ctx, &ends.local, LISTENER_PLAINTEXT)
}

/// Whether the pod speaks to itself: an application, or the tunnel that delivers. Traffic to an own address that is not a loopback
/// one carries the index of the interface that has the address, although it travels over `lo` (`ip_route_output_key_hash_rcu` sets
/// `rt_iif` so), so the source address tells: the kernel drops packets from outside with such a source as martians
/// (`fib_validate_source`), and for IPv6 it answers them to itself, so that no handshake completes.
#[inline(always)]
fn from_inside(ifindex: u32, ends: &Ends) -> bool {
    ifindex == LO_IFINDEX || ends.remote == ends.local || is_loopback(&ends.remote)
}

#[inline(always)]
fn is_loopback(ip: &Ip) -> bool {
    if ip.is_v4() {
        return u32::from_be(ip.words[3]) >> 24 == 127;
    }
    ip.words[0] == 0 && ip.words[1] == 0 && ip.words[2] == 0 && ip.words[3] == 1_u32.to_be()
}

/// Whether the kernel itself authorised this handshake, in the current generation.
#[inline(always)]
fn authorised(ends: &Ends) -> bool {
    let Some(flow) = read_or_none(&FLOW, &ends.flow_as_server()) else {
        return false;
    };
    flow.generation == 0 || config().is_some_and(|c| c.generation == flow.generation)
}

#[inline(always)]
fn assign(ctx: &SkLookupContext, ip: &Ip, kind: u32) -> u32 {
    match LISTENER.redirect_sk_lookup(ctx, ListenerKey { ip: *ip, kind }, 0) {
        Ok(()) => SK_PASS,
        Err(_) => {
            count(Counter::NoListener);
            SK_DROP
        }
    }
}
