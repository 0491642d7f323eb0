//! `sk_lookup` in each enrolled pod's network namespace: who gets an incoming SYN.

use aya_ebpf::programs::SkLookupContext;
use warren_abi::{
    Counter, Ip, LISTENER_HBONE, LISTENER_OUTBOUND, LISTENER_PLAINTEXT, ListenerKey, PORT_HBONE, PORT_OUTBOUND,
};

use crate::context::{Ends, IPPROTO_TCP, field, lookup_ends};
use crate::maps::{FLOW, LISTENER, config, count};

const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;
const LO_IFINDEX: u32 = 1;

pub fn steer(ctx: &SkLookupContext) -> u32 {
    if field!(ctx.lookup, protocol) != IPPROTO_TCP {
        return SK_PASS;
    }
    let ends = lookup_ends(ctx.lookup);
    if field!(ctx.lookup, ingress_ifindex) == LO_IFINDEX || ends.remote == ends.local {
        // The pod speaking to itself, or the tunnel's own delivery.
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
    let Some(flow) = (unsafe { FLOW.get(ends.flow_as_server()) }) else { return false };
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
