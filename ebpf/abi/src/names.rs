//! Names of programs and maps in the kernel object, as the loader and `bpftool` see them.

/// Programs attached to the cgroup: (program, attach type).
pub const CGROUP_PROGRAMS: [&str; 7] = [
    "connect4",
    "connect6",
    "getpeername4",
    "getpeername6",
    "sock_ops",
    "getsockopt",
    "setsockopt",
];
/// The program attached to each enrolled pod's network namespace.
pub const SK_LOOKUP_PROGRAM: &str = "steer";

/// `Array<Config, 1>`.
pub const CONFIG: &str = "config";
/// `Hash<u64 netns cookie, Pod>`: the enrolled pods.
pub const PODS: &str = "pods";
/// `Hash<Ip, LocalWorkload>`: addresses of enrolled workloads on this node.
pub const LOCAL_WORKLOADS: &str = "local_workloads";
/// `Hash<ServiceAddr, ServiceEntry>`.
pub const SERVICES: &str = "services";
/// `Hash<BackendKey, Backend>`.
pub const BACKENDS: &str = "backends";
/// `LruHash<VerdictKey, Verdict>`.
pub const VERDICTS: &str = "verdicts";
/// `LruHash<FlowKey, Flow>`: connections that the kernel itself authorised, for the time of their handshake.
pub const FLOWS: &str = "flows";
/// `LruHash<ConnKey, Conn>`: original destinations and declared clients of live connections.
pub const CONNS: &str = "conns";
/// `Hash<u64 socket cookie, DirectConn>`: live direct flows, by their client's socket.
pub const DIRECT_CONNS: &str = "direct_conns";
/// `Hash<ProbePort, u32>`: declared probe ports of local pods.
pub const PROBE_PORTS: &str = "probe_ports";
/// `SockHash<ListenerKey>`: the tunnel's listeners.
pub const LISTENERS: &str = "listeners";
/// `RingBuf<Event>`.
pub const EVENTS: &str = "events";
/// `PerCpuArray<u64, COUNTERS>`, indexed by `Counter`.
pub const COUNTERS: &str = "counters";
/// Socket storage `Intent`: what connect decided, until the source port is known.
pub const INTENTS: &str = "intents";
