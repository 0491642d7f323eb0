//! Map keys and values. Ports are in host byte order unless a name says otherwise.

use crate::Ip;

/// Node-wide settings, one entry at index 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Verdicts and flows of another generation do not count.
    pub generation: u64,
    /// Cookie of the host's network namespace.
    pub host_netns: u64,
    /// Cgroup ids of the tunnel, and of the one that it has replaced, which still ends its connections; 0 = none. Their connects pass.
    pub tunnel_cgroups: [u64; 2],
    /// Cgroup id of the kubelet; 0 = no probes are recognised.
    pub kubelet_cgroup: u64,
    /// `CONFIG_*` bits.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

impl Config {
    /// Whether a process of this cgroup is a tunnel.
    #[inline(always)]
    pub fn is_tunnel(&self, cgroup: u64) -> bool {
        cgroup != 0 && (cgroup == self.tunnel_cgroups[0] || cgroup == self.tunnel_cgroups[1])
    }
}

/// Direct flows are allowed on this node.
pub const CONFIG_DIRECT: u32 = 1;
/// Kernel-side log lines are wanted.
pub const CONFIG_LOG: u32 = 2;

/// An enrolled pod, by the cookie of its network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its IPv4 address, or none.
    pub ip4: Ip,
    /// Its IPv6 address, or none.
    pub ip6: Ip,
    /// The agent's number for the workload; never 0.
    pub workload: u32,
    /// `POD_*` bits.
    pub flags: u32,
}

/// The pod's own connections are never direct.
pub const POD_NO_DIRECT: u32 = 1;

/// An enrolled workload of this node, by address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalWorkload {
    /// The agent's number for the workload.
    pub workload: u32,
    /// Zero.
    pub flags: u32,
}

/// A Service's virtual address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceAddr {
    /// Virtual address.
    pub ip: Ip,
    /// Port, or [`ANY_OTHER_PORT`].
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

/// Stands for every port of a virtual address that has no entry of its own.
pub const ANY_OTHER_PORT: u16 = 0;

/// What to do with connections to a Service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// The agent's number for the service.
    pub service: u32,
    /// Which set of `backends` is current.
    pub epoch: u32,
    /// How many backends the set has.
    pub count: u32,
    /// `SERVICE_*` bits.
    pub flags: u32,
}

/// The kernel must not choose: the tunnel does, with the virtual address kept.
pub const SERVICE_KEEP_VIP: u32 = 1;
/// No endpoint: refuse at connect() with ECONNREFUSED.
pub const SERVICE_REFUSE: u32 = 2;

/// One backend of one epoch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BackendKey {
    /// The agent's number for the service.
    pub service: u32,
    /// Epoch.
    pub epoch: u32,
    /// 0 to count − 1.
    pub index: u32,
}

/// A backend and its column of the alias table: with `r1 % count` choosing the column and a second random word `r2`, the backend
/// is this one if `r2 < threshold` (or `threshold == u32::MAX`), else the one at `alias`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Address.
    pub ip: Ip,
    /// Port.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
    /// See above.
    pub threshold: u32,
    /// See above.
    pub alias: u32,
}

/// A question that a verdict answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VerdictKey {
    /// Source workload.
    pub source: u32,
    /// Destination workload.
    pub destination: u32,
    /// Destination port.
    pub port: u16,
    /// 4 or 6: address conditions may differ by family.
    pub family: u16,
}

/// The answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Valid only in this generation.
    pub generation: u64,
    /// `VERDICT_*`.
    pub verdict: u32,
    /// Zero.
    pub reserved: u32,
}

/// The agent was asked and has not answered yet: use the tunnel.
pub const VERDICT_PENDING: u32 = 0;
/// Connect straight to the workload.
pub const VERDICT_DIRECT: u32 = 1;
/// Use the tunnel (which allows or denies, and logs).
pub const VERDICT_TUNNEL: u32 = 2;

/// A connection as both ends see it, without a namespace: pod addresses are unique on a node.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Who connects.
    pub client: Ip,
    /// Whom to.
    pub server: Ip,
    /// Source port.
    pub client_port: u16,
    /// Destination port.
    pub server_port: u16,
}

/// An authorised handshake.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Generation of the verdict; 0 = a kubelet probe, valid in any.
    pub generation: u64,
}

/// A connection inside one network namespace, from client to server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnKey {
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Who connects.
    pub client: Ip,
    /// Whom to.
    pub server: Ip,
    /// Source port.
    pub client_port: u16,
    /// Destination port.
    pub server_port: u16,
    /// Zero.
    pub reserved: u32,
}

/// What one end of a connection must see instead of the other end's socket address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conn {
    /// `CONN_ORIGINAL`: what the client asked for. `CONN_CLAIMED`: the client that the tunnel declared.
    pub ip: Ip,
    /// The backend that the kernel chose, or none.
    pub backend: Ip,
    /// Port of `ip`.
    pub port: u16,
    /// Port of `backend`.
    pub backend_port: u16,
    /// `CONN_*` bits.
    pub flags: u32,
}

/// `ip` is the original destination, for the client's side and for the tunnel.
pub const CONN_ORIGINAL: u32 = 1;
/// `ip` is the declared client address, for the server's side.
pub const CONN_CLAIMED: u32 = 2;
/// The client's socket is closed.
pub const CONN_CLIENT_GONE: u32 = 4;
/// The server's socket is closed.
pub const CONN_SERVER_GONE: u32 = 8;

/// A live direct flow, by the cookie of its client's socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectConn {
    /// Its addresses.
    pub flow: FlowKey,
    /// Source workload.
    pub source: u32,
    /// Destination workload.
    pub destination: u32,
    /// The agent's number for the service asked for, or 0.
    pub service: u32,
    /// Start: nanoseconds of the monotonic clock.
    pub start_ns: u64,
    /// Generation of its verdict.
    pub generation: u64,
}

/// A declared probe port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProbePort {
    /// Pod address.
    pub ip: Ip,
    /// Port.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

/// A listener of the tunnel, by the pod's address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Pod address.
    pub ip: Ip,
    /// `LISTENER_*`.
    pub kind: u32,
}

/// Takes the pod's own connections (15001).
pub const LISTENER_OUTBOUND: u32 = 0;
/// Takes connections from outside that are not HBONE (15006).
pub const LISTENER_PLAINTEXT: u32 = 1;
/// Takes HBONE (15008).
pub const LISTENER_HBONE: u32 = 2;

/// Port of outbound capture.
pub const PORT_OUTBOUND: u16 = 15001;
/// Port of plaintext inbound (a name only: any port may lead there).
pub const PORT_PLAINTEXT: u16 = 15006;
/// Port of HBONE.
pub const PORT_HBONE: u16 = 15008;

/// What connect decided; kept in the socket's storage until its source port is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// What to publish.
    pub conn: Conn,
    /// Source workload.
    pub source: u32,
    /// Destination workload.
    pub destination: u32,
    /// The agent's number for the service asked for, or 0.
    pub service: u32,
    /// `INTENT_*`.
    pub kind: u32,
    /// Generation of the verdict; of `INTENT_DIRECT_LIVE` from FIN_WAIT2 on, the bytes received until then.
    pub generation: u64,
}

/// Nothing to publish.
pub const INTENT_NONE: u32 = 0;
/// Captured: publish the original destination.
pub const INTENT_CAPTURE: u32 = 1;
/// Direct: publish the flow.
pub const INTENT_DIRECT: u32 = 2;
/// A kubelet probe: publish the flow.
pub const INTENT_PROBE: u32 = 3;
/// The tunnel's delivery: publish the client that it declared.
pub const INTENT_DECLARE: u32 = 4;
/// A Service whose backend is the pod itself: publish the original destination, nothing else.
pub const INTENT_SELF: u32 = 5;
/// A live direct flow after its handshake was published: account for it at its end.
pub const INTENT_DIRECT_LIVE: u32 = 6;

/// Indexes of the `counters` map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Connections sent to the tunnel.
    Captured = 0,
    /// Connections made direct.
    Direct = 1,
    /// Connects of enrolled pods that passed untouched.
    Passed = 2,
    /// Connects refused for want of an endpoint.
    Refused = 3,
    /// Kubelet probes let through.
    Probe = 4,
    /// Incoming SYNs given to the plaintext listener.
    Plaintext = 5,
    /// Incoming SYNs given to the HBONE listener.
    Hbone = 6,
    /// Incoming SYNs dropped because a listener was missing.
    NoListener = 7,
    /// Events lost because the ring buffer was full.
    EventsLost = 8,
    /// A map update failed.
    MapFull = 9,
    /// Incoming SYNs of direct flows.
    DirectAccepted = 10,
}

/// Length of the `counters` map.
pub const COUNTERS_LEN: u32 = 16;

const _: () = {
    assert!(size_of::<Config>() == 48 && size_of::<LocalWorkload>() == 8);
    assert!(size_of::<Pod>() == 40);
    assert!(size_of::<ServiceAddr>() == 20);
    assert!(size_of::<BackendKey>() == 12);
    assert!(size_of::<Backend>() == 28);
    assert!(size_of::<VerdictKey>() == 12);
    assert!(size_of::<Verdict>() == 16);
    assert!(size_of::<FlowKey>() == 36);
    assert!(size_of::<ConnKey>() == 48);
    assert!(size_of::<Conn>() == 40);
    assert!(size_of::<DirectConn>() == 64);
    assert!(size_of::<ListenerKey>() == 20);
    assert!(size_of::<Intent>() == 64);
};
