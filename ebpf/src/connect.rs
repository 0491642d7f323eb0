//! `cgroup/connect4,6`: pass, refuse, go direct, or go to the tunnel.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_ktime_get_ns,
    bpf_set_retval,
};
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::info;
use warren_abi::{
    ANY_OTHER_PORT, Backend, BackendKey, CONFIG_DIRECT, CONFIG_LOG, CONN_ORIGINAL, Config, Conn,
    Counter, Event, EventKind, INTENT_CAPTURE, INTENT_DIRECT, INTENT_PROBE, INTENT_SELF, Intent,
    Ip, POD_NO_DIRECT, PORT_OUTBOUND, Pod, ProbePort, SERVICE_KEEP_VIP, SERVICE_REFUSE,
    ServiceAddr, VERDICT_DIRECT, VERDICT_PENDING, Verdict, VerdictKey,
};

use crate::context::{
    IPPROTO_TCP, addr_sock, field, set_field, set_user_ip6, set_user_port, user_ip6, user_port,
};
use crate::maps::{
    BACKEND, EVENTS, Found, LOCAL_WORKLOAD, POD, PROBE_PORT, SERVICE, VERDICT, config, count,
    forget_intent, intent_or_new, read, read_or_none,
};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
const ECONNREFUSED: i32 = 111;

/// What becomes of a connect.
enum Way {
    /// Untouched.
    Pass,
    /// To this address and port.
    To(Ip, u16),
    /// ECONNREFUSED.
    Refuse,
}

/// Where a connect is to go: what was asked for, and what a Service made of it.
struct Target {
    ip: Ip,
    port: u16,
    service: u32,
}

pub fn connect4(ctx: &SockAddrContext) -> i32 {
    let addr = ctx.sock_addr;
    let ip = Ip::from_v4_word(field!(addr, user_ip4));
    match decide(ctx, &ip, user_port(addr)) {
        Way::Pass => ALLOW,
        Way::To(ip, port) => {
            set_field!(addr, user_ip4 => ip.words[3]);
            set_user_port(addr, port);
            ALLOW
        }
        Way::Refuse => refuse(),
    }
}

pub fn connect6(ctx: &SockAddrContext) -> i32 {
    let addr = ctx.sock_addr;
    let ip = user_ip6(addr);
    match decide(ctx, &ip, user_port(addr)) {
        Way::Pass => ALLOW,
        Way::To(ip, port) => {
            set_user_ip6(addr, &ip);
            set_user_port(addr, port);
            ALLOW
        }
        Way::Refuse => refuse(),
    }
}

#[inline(always)]
fn refuse() -> i32 {
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, ip: &Ip, port: u16) -> Way {
    let Some(config) = config() else {
        return Way::Pass;
    };
    if field!(ctx.sock_addr, protocol) != IPPROTO_TCP {
        return Way::Pass;
    }
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    // The tunnel's intent is what it declared itself: leave it.
    if config.is_tunnel(cgroup) {
        return Way::Pass;
    }
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let way = match pod_of(netns) {
        Found::Value(pod) => from_pod(ctx, config, &pod, ip, port),
        Found::Changed => Some(Way::Refuse),
        Found::Nothing if netns == config.host_netns && cgroup == config.kubelet_cgroup => {
            from_kubelet(ctx, ip, port)
        }
        Found::Nothing => None,
    };
    way.unwrap_or_else(|| {
        forget_intent(addr_sock(ctx.sock_addr));
        Way::Pass
    })
}

/// The pod of a network namespace. An entry that changed is looked at once more: only one that is gone lets pass.
#[inline(always)]
fn pod_of(netns: u64) -> Found<Pod> {
    match read(&POD, &netns) {
        Found::Changed => read(&POD, &netns),
        found => found,
    }
}

/// None: pass, and forget the intent.
#[inline(always)]
fn from_kubelet(ctx: &SockAddrContext, ip: &Ip, port: u16) -> Option<Way> {
    unsafe {
        PROBE_PORT.get(ProbePort {
            ip: *ip,
            port,
            reserved: 0,
        })
    }?;
    remember(
        ctx,
        &Intent {
            kind: INTENT_PROBE,
            ..Intent::default()
        },
    )?;
    count(Counter::Probe);
    Some(Way::Pass)
}

/// None: pass, and forget the intent.
#[inline(always)]
fn from_pod(ctx: &SockAddrContext, config: &Config, pod: &Pod, ip: &Ip, port: u16) -> Option<Way> {
    let own = if ip.is_v4() { pod.ip4 } else { pod.ip6 };
    if own.is_none() || stays_local(ip) || *ip == pod.ip4 || *ip == pod.ip6 {
        count(Counter::Passed);
        return None;
    }
    let target = match choose(ip, port) {
        Ok(target) => target,
        Err(()) => {
            count(Counter::Refused);
            return Some(Way::Refuse);
        }
    };
    let mut intent = Intent {
        conn: Conn {
            ip: *ip,
            port,
            flags: CONN_ORIGINAL,
            ..Conn::default()
        },
        source: pod.workload,
        service: target.service,
        ..Intent::default()
    };
    if target.ip == own {
        intent.kind = INTENT_SELF;
        // Untouched, a Service's address would lead to whichever pod another proxy of the node chooses.
        if remember(ctx, &intent).is_none() {
            count(Counter::Refused);
            return Some(Way::Refuse);
        }
        return Some(Way::To(target.ip, target.port));
    }
    if let Some((destination, generation)) = direct_to(config, pod, &target) {
        intent.kind = INTENT_DIRECT;
        intent.destination = destination;
        intent.generation = generation;
        if remember(ctx, &intent).is_some() {
            count(Counter::Direct);
            return Some(Way::To(target.ip, target.port));
        }
    }
    if target.service != 0 {
        intent.conn.backend = target.ip;
        intent.conn.backend_port = target.port;
    }
    intent.kind = INTENT_CAPTURE;
    // Without an intent the tunnel has no original destination and closes the connection: closed, not open.
    let _ = remember(ctx, &intent);
    count(Counter::Captured);
    if config.flags & CONFIG_LOG != 0 {
        info!(ctx, "workload {} to port {}: tunnel", pod.workload, port);
    }
    Some(Way::To(own, PORT_OUTBOUND))
}

/// Loopback, unspecified and link-local addresses never leave for the mesh; what is no single host's is for the kernel to refuse.
#[inline(always)]
fn stays_local(ip: &Ip) -> bool {
    if ip.is_v4() {
        let host = u32::from_be(ip.words[3]);
        let group = host >> 28 == 0xe || host == u32::MAX;
        return group || host >> 24 == 127 || host >> 16 == 0xa9fe || host == 0;
    }
    let first = u32::from_be(ip.words[0]);
    let low = ip.words[0] == 0 && ip.words[1] == 0 && ip.words[2] == 0;
    (low && (ip.words[3] == 0 || ip.words[3] == 1_u32.to_be()))
        || first >> 22 == 0x3fa
        || first >> 24 == 0xff
}

/// Resolves a Service to one of its backends; Err: it has none, or no such port.
#[inline(always)]
fn choose(ip: &Ip, port: u16) -> Result<Target, ()> {
    let asked = Target {
        ip: *ip,
        port,
        service: 0,
    };
    let address = ServiceAddr {
        ip: *ip,
        port,
        reserved: 0,
    };
    let Some(entry) = read_or_none(&SERVICE, &address) else {
        if is_no_port_of_a_service(&address) {
            return Err(());
        }
        // What is not known here keeps its address: the tunnel chooses.
        return Ok(asked);
    };
    if entry.flags & SERVICE_REFUSE != 0 {
        return Err(());
    }
    if entry.flags & SERVICE_KEEP_VIP != 0 || entry.count == 0 {
        return Ok(asked);
    }
    let column = unsafe { bpf_get_prandom_u32() } % entry.count;
    let key = BackendKey {
        service: entry.service,
        epoch: entry.epoch,
        index: column,
    };
    let Some(first) = read_or_none(&BACKEND, &key) else {
        return Ok(asked);
    };
    let chosen = if pick_first(&first) {
        first
    } else {
        let other = BackendKey {
            index: first.alias,
            ..key
        };
        read_or_none(&BACKEND, &other).unwrap_or(first)
    };
    Ok(Target {
        ip: chosen.ip,
        port: chosen.port,
        service: entry.service,
    })
}

/// Whether the address is a Service's that has no such port: the entry that stands for all others always refuses.
#[inline(always)]
fn is_no_port_of_a_service(address: &ServiceAddr) -> bool {
    let others = ServiceAddr {
        port: ANY_OTHER_PORT,
        ..*address
    };
    // In this order: the agent writes it last, so that every port is there by then. One that is there now was replaced while it was read.
    SERVICE.get_ptr(others).is_some() && SERVICE.get_ptr(address).is_none()
}

#[inline(always)]
fn pick_first(backend: &Backend) -> bool {
    backend.threshold == u32::MAX || (unsafe { bpf_get_prandom_u32() }) < backend.threshold
}

/// The destination's number, and the generation of the cached verdict that says direct; asks the agent where there is no verdict.
/// The generation is read once: the agent may raise it at any time, and what was decided before must not count as decided after.
#[inline(always)]
fn direct_to(config: &Config, pod: &Pod, target: &Target) -> Option<(u32, u64)> {
    if config.flags & CONFIG_DIRECT == 0 || pod.flags & POD_NO_DIRECT != 0 {
        return None;
    }
    let local = read_or_none(&LOCAL_WORKLOAD, &target.ip)?;
    let family = if target.ip.is_v4() { 4 } else { 6 };
    let key = VerdictKey {
        source: pod.workload,
        destination: local.workload,
        port: target.port,
        family,
    };
    let generation = unsafe { core::ptr::addr_of!(config.generation).read_volatile() };
    if let Some(verdict) = read_or_none(&VERDICT, &key)
        && verdict.generation == generation
    {
        return (verdict.verdict == VERDICT_DIRECT).then_some((key.destination, generation));
    }
    ask(generation, &key);
    None
}

#[inline(always)]
fn ask(generation: u64, key: &VerdictKey) {
    // Marked first, so that a burst of connects asks once; taken back if the question could not be sent.
    let pending = Verdict {
        generation,
        verdict: VERDICT_PENDING,
        reserved: 0,
    };
    if VERDICT.insert(key, pending, 0).is_err() {
        count(Counter::MapFull);
    }
    match EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(Event {
                kind: EventKind::VerdictWanted as u32,
                question: *key,
                start_ns: unsafe { bpf_ktime_get_ns() },
                ..Event::default()
            });
            entry.submit(0);
        }
        None => {
            count(Counter::EventsLost);
            let _ = VERDICT.remove(key);
        }
    }
}

#[inline(always)]
fn remember(ctx: &SockAddrContext, intent: &Intent) -> Option<()> {
    let slot = intent_or_new(addr_sock(ctx.sock_addr));
    if slot.is_null() {
        count(Counter::MapFull);
        return None;
    }
    unsafe { *slot = *intent };
    Some(())
}
