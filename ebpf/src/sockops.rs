//! `sockops`: publishes what connect decided once the source port is known, and tidies up behind connections.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_ops};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_ns};
use aya_ebpf::programs::SockOpsContext;
use warren_abi::{
    CONN_CLIENT_GONE, CONN_SERVER_GONE, Conn, ConnKey, Counter, DirectConn, Event, EventKind, Flow,
    FlowKey, INTENT_CAPTURE, INTENT_DECLARE, INTENT_DIRECT, INTENT_DIRECT_LIVE, INTENT_NONE,
    INTENT_PROBE, INTENT_SELF, Intent, VerdictKey,
};

use crate::context::{Ends, conn_key, field, ops_ends};
use crate::maps::{CONN, DIRECT_CONN, EVENTS, FLOW, POD, count, intent};

const TCP_CONNECT_CB: u32 = 3;
const PASSIVE_ESTABLISHED_CB: u32 = 5;
const STATE_CB: u32 = 10;
const STATE_CB_FLAG: i32 = 4;
const TCP_SYN_SENT: u32 = 2;
const TCP_FIN_WAIT2: u32 = 5;
const TCP_CLOSE: u32 = 7;
const TCP_CLOSE_WAIT: u32 = 8;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;

/// The reply that means "the default" to every callback that has one.
const DEFAULT_REPLY: u32 = u32::MAX;

pub fn handle(ctx: &SockOpsContext) -> u32 {
    match field!(ctx.ops, op) {
        TCP_CONNECT_CB => connecting(ctx),
        PASSIVE_ESTABLISHED_CB => accepted(ctx),
        STATE_CB => state_changed(ctx),
        _ => ctx.set_reply(DEFAULT_REPLY),
    }
    1
}

/// The socket has its source port and is about to send SYN.
#[inline(always)]
fn connecting(ctx: &SockOpsContext) {
    let sk = sock(ctx.ops);
    if sk.is_null() {
        return;
    }
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let ends = ops_ends(ctx.ops);
    let flow = ends.flow_as_client();
    let slot = intent(sk);
    if slot.is_null() || unsafe { (*slot).kind } == INTENT_NONE {
        // A stale entry of an earlier connection on the same ports must not speak for this one.
        if unsafe { POD.get(netns) }.is_some() {
            let _ = CONN.remove(conn_key(netns, &flow));
        }
        return;
    }
    let slot = unsafe { &mut *slot };
    match slot.kind {
        INTENT_CAPTURE | INTENT_SELF | INTENT_DECLARE => {
            publish(&conn_key(netns, &flow), &slot.conn)
        }
        INTENT_PROBE => authorise(&flow, 0),
        INTENT_DIRECT => go_direct(ctx, netns, slot, &flow),
        _ => return,
    }
    if slot.kind != INTENT_DIRECT_LIVE && slot.kind != INTENT_PROBE {
        slot.kind = INTENT_NONE;
    }
    let _ = ctx.set_cb_flags(STATE_CB_FLAG);
}

/// A flow that cannot be listed is not authorised: nobody would find it when policy comes to deny it. Its SYN meets the tunnel, which
/// resets it and tells the agent.
#[inline(always)]
fn go_direct(ctx: &SockOpsContext, netns: u64, slot: &mut Intent, flow: &FlowKey) {
    let key = conn_key(netns, flow);
    let live = DirectConn {
        flow: *flow,
        source: slot.source,
        destination: slot.destination,
        service: slot.service,
        start_ns: unsafe { bpf_ktime_get_ns() },
        generation: slot.generation,
    };
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    if DIRECT_CONN.insert(cookie, live, 0).is_err() {
        count(Counter::MapFull);
        let _ = CONN.remove(key);
        return;
    }
    if slot.service != 0 {
        publish(&key, &slot.conn);
    } else {
        let _ = CONN.remove(key);
    }
    authorise(flow, slot.generation);
    slot.kind = INTENT_DIRECT_LIVE;
}

#[inline(always)]
fn publish(key: &ConnKey, conn: &Conn) {
    if CONN.insert(key, conn, 0).is_err() {
        count(Counter::MapFull);
    }
}

#[inline(always)]
fn authorise(flow: &FlowKey, generation: u64) {
    if FLOW.insert(flow, Flow { generation }, 0).is_err() {
        count(Counter::MapFull);
    }
}

/// A handshake ended at the accepting side: its authorisation ends with it.
#[inline(always)]
fn accepted(ctx: &SockOpsContext) {
    let flow = ops_ends(ctx.ops).flow_as_server();
    let _ = FLOW.remove(flow);
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    if unsafe { CONN.get(conn_key(netns, &flow)) }.is_some() {
        let _ = ctx.set_cb_flags(STATE_CB_FLAG);
    }
}

#[inline(always)]
fn state_changed(ctx: &SockOpsContext) {
    match ctx.arg(1) {
        TCP_FIN_WAIT2 => return half_closed(ctx),
        TCP_CLOSE => {}
        _ => return,
    }
    let old_state = ctx.arg(0);
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let ends = ops_ends(ctx.ops);
    let as_client = conn_key(netns, &ends.flow_as_client());
    let sk = sock(ctx.ops);
    if !sk.is_null() {
        let slot = intent(sk);
        if !slot.is_null() && client_ended(ctx, unsafe { &mut *slot }, &ends, old_state) {
            // The other end is in another network namespace, and never speaks for this entry.
            let _ = CONN.remove(as_client);
            return;
        }
    }
    if let Some(conn) = CONN.get_ptr_mut(as_client) {
        leave(
            &as_client,
            conn,
            CONN_CLIENT_GONE,
            old_state == TCP_SYN_SENT,
        );
        return;
    }
    let as_server = conn_key(netns, &ends.flow_as_server());
    if let Some(conn) = CONN.get_ptr_mut(as_server) {
        leave(&as_server, conn, CONN_SERVER_GONE, false);
    }
}

/// The server has the client's FIN, and its own is still to come. What was received until now is kept, to tell at the end whether
/// a FIN was among what came after.
#[inline(always)]
fn half_closed(ctx: &SockOpsContext) {
    let sk = sock(ctx.ops);
    if sk.is_null() {
        return;
    }
    let slot = intent(sk);
    if !slot.is_null() && unsafe { (*slot).kind } == INTENT_DIRECT_LIVE {
        let received = field!(ctx.ops, bytes_received);
        unsafe { (*slot).generation = received };
    }
}

/// One end is gone; the entry goes with the last one. The tunnel may ask for the original destination of a connection whose client
/// has left already, and the client for its peer's name after the tunnel has.
#[inline(always)]
fn leave(key: &ConnKey, conn: *mut Conn, which: u32, never_established: bool) {
    let flags = unsafe { (*conn).flags } | which;
    if never_established
        || flags & (CONN_CLIENT_GONE | CONN_SERVER_GONE) == CONN_CLIENT_GONE | CONN_SERVER_GONE
    {
        let _ = CONN.remove(key);
    } else {
        unsafe { (*conn).flags = flags };
    }
}

/// Tidies up behind a direct flow or a probe; whether it was one.
#[inline(always)]
fn client_ended(ctx: &SockOpsContext, slot: &mut Intent, ends: &Ends, old_state: u32) -> bool {
    if slot.kind != INTENT_DIRECT_LIVE && slot.kind != INTENT_PROBE {
        return false;
    }
    let flow = ends.flow_as_client();
    // Whatever became of the handshake: a server that lets its last step fall never says that it was established.
    let _ = FLOW.remove(flow);
    if slot.kind == INTENT_DIRECT_LIVE {
        let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        report_close(ctx, &flow, cookie, old_state, slot.generation);
        let _ = DIRECT_CONN.remove(cookie);
    }
    slot.kind = INTENT_NONE;
    true
}

/// `half_closed_at`: what was received when the flow entered FIN_WAIT2, if it did.
#[inline(always)]
fn report_close(
    ctx: &SockOpsContext,
    flow: &FlowKey,
    cookie: u64,
    old_state: u32,
    half_closed_at: u64,
) {
    let Some(live) = (unsafe { DIRECT_CONN.get(cookie) }) else {
        return;
    };
    let Some(mut entry) = EVENTS.reserve(0) else {
        count(Counter::EventsLost);
        return;
    };
    // The sequence space that SYN and FIN took is no payload.
    let received = field!(ctx.ops, bytes_received);
    let syn = u64::from(old_state != TCP_SYN_SENT);
    let own_fin = u64::from(matches!(
        old_state,
        TCP_FIN_WAIT2 | TCP_LAST_ACK | TCP_CLOSING
    ));
    // A socket that its program closed first leaves FIN_WAIT2 before the peer's FIN is there.
    let peer_fin = u64::from(match old_state {
        TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING => true,
        TCP_FIN_WAIT2 => received != half_closed_at,
        _ => false,
    });
    entry.write(Event {
        kind: EventKind::DirectClose as u32,
        service: live.service,
        question: VerdictKey {
            source: live.source,
            destination: live.destination,
            port: flow.server_port,
            family: if flow.server.is_v4() { 4 } else { 6 },
        },
        flow: *flow,
        start_ns: live.start_ns,
        end_ns: unsafe { bpf_ktime_get_ns() },
        bytes_sent: field!(ctx.ops, bytes_acked).saturating_sub(syn + own_fin),
        bytes_received: received.saturating_sub(peer_fin),
        rtt_us: field!(ctx.ops, srtt_us) >> 3,
        old_state,
    });
    entry.submit(0);
}

#[inline(always)]
fn sock(ops: *mut bpf_sock_ops) -> *mut bpf_sock {
    field!(ops, __bindgen_anon_2.sk)
}
