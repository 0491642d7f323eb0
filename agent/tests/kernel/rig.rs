//! The node with the real kernel, and a tunnel that the test plays: it accepts and looks, but carries nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::oneshot;
use warren_abi::{Event, EventKind};
use warren_agent::accounting::Names;
use warren_agent::bpf::{self, AsyncEvents, Maps, Pins, mount, observe};
use warren_agent::cni::{Op, Request};
use warren_agent::netns::{self, Netns};
use warren_agent::node::{Effect, Input, Leftover, Node, Options};
use warren_agent::pods::memory::Namespaces;
use warren_agent::pods::store::Saved;
use warren_agent::{cgroup, sockdiag};
use warren_api::node::{Family, ListenerKind, ToAgent, ToTunnel, Traffic};
use warren_api::xds::Update;
use warren_core::Mesh;
use warren_core::direct::DirectSettings;
use warren_core::policy::{Action, Policy, PolicyKey, PolicyScope, Rule};
use warren_core::workload::{TunnelProtocol, Uid, Workload};

use super::world::World;

/// The tunnel's duplicates, by pod and kind.
type Listeners = HashMap<(String, ListenerKind), TcpListener>;

/// The node and the tunnel.
pub struct Rig {
    node: Node<Maps>,
    events: AsyncEvents,
    runtime: tokio::runtime::Runtime,
    agent_cgroup: PathBuf,
    tunnel_cgroup: PathBuf,
    pins: Pins,
    saved: Saved,
    addresses: HashMap<&'static str, Vec<IpAddr>>,
    netns: HashMap<&'static str, PathBuf>,
    listeners: Listeners,
    /// Questions that were answered.
    pub wanted: usize,
    /// Direct flows that ended, the agent's own included.
    pub closed: usize,
    /// What the clients of those that carried something sent and received.
    pub carried: Vec<(u64, u64)>,
    /// Trials of direct flows.
    pub trials: usize,
}

impl Rig {
    /// Loads, restores, attaches, and connects the tunnel.
    pub fn start(world: &World) -> Self {
        Self::with(world, Saved::default(), HashMap::new())
    }

    /// What a second agent does while the first is away; the tunnel lives on.
    pub fn restart(self, world: &World) -> Self {
        let (saved, listeners) = (self.saved.clone(), self.listeners);
        drop(self.node);
        Self::with(world, saved, listeners)
    }

    fn with(world: &World, saved: Saved, listeners: Listeners) -> Self {
        let object =
            std::env::var("WARREN_BPF_OBJECT").expect("WARREN_BPF_OBJECT names the kernel object");
        mount::ensure_bpffs(&world.pins()).expect("bpffs");
        let pins = Pins::create(&world.pins()).expect("pins");
        let mut loaded = bpf::load(object.as_ref(), pins.clone()).expect("the object loads");
        let left = Leftover {
            memory: Namespaces::default(),
            above_all: 0,
            saved: saved.clone(),
            existing: loaded.maps.existing(),
            host_netns: netns::cookie_of(&world.netns("node")).expect("cookie"),
            tunnel_cgroup: cgroup::id_of(Some(&world.cgroup("system/tunnel"))),
            kubelet_cgroup: cgroup::id_of(Some(&world.cgroup("system/kubelet"))),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let (maps, events, attach) = loaded.split();
        let events = {
            let _inside = runtime.enter();
            events.into_async().expect("events")
        };
        let mesh = Arc::new(RwLock::new(Mesh::default()));
        let mut node = Node::new(
            options(),
            maps,
            mesh,
            Arc::new(Names::default()),
            Instant::now(),
        );
        node.restore(left, |record| Netns::open(&record.netns), Instant::now());
        attach.attach(&world.cgroup("")).expect("programs attach");
        let pods = ["a", "b"];
        let addresses = pods
            .map(|p| (p, vec![world.ip(p, true), world.ip(p, false)]))
            .into();
        let netns = pods.map(|p| (p, world.netns(p))).into();
        let mut rig = Self {
            node,
            events,
            runtime,
            pins,
            saved,
            addresses,
            netns,
            listeners,
            wanted: 0,
            agent_cgroup: world.cgroup("system/agent"),
            tunnel_cgroup: world.cgroup("system/tunnel"),
            closed: 0,
            carried: Vec::new(),
            trials: 0,
        };
        rig.send(Input::TunnelUp {
            link: 1,
            instance: "test".into(),
            cgroup: 0,
        });
        rig
    }

    /// Handles an input and everything that follows from it.
    pub fn send(&mut self, input: Input) {
        self.node.handle(input, Instant::now());
        loop {
            let effects = self.node.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                if let Some(next) = self.carry_out(effect) {
                    self.node.handle(next, Instant::now());
                }
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Open(number, path) => Some(Input::Opened(number, Netns::open(&path))),
            Effect::Listen(number, netns, wanted) => {
                Some(Input::Listening(number, netns.listeners(&wanted)))
            }
            Effect::Save(saved) => {
                self.saved = saved;
                None
            }
            Effect::Remember(_) => None,
            Effect::Ask(..) => unreachable!("there is no container runtime"),
            Effect::TrialListen(trial, netns) => {
                self.trials += 1;
                Some(Input::TrialListens(
                    trial,
                    netns.listener_at(trial.destination.ip()),
                ))
            }
            Effect::TrialConnect(trial, netns, listener) => {
                // The tunnel's cgroup would pass untouched; an agent has one of its own.
                join(&self.agent_cgroup);
                let result = netns.trial(trial.source, trial.destination, listener);
                join(&self.tunnel_cgroup);
                assert_eq!(result, Ok(()), "the trial of a direct flow");
                Some(Input::TrialEnded(trial, result))
            }
            Effect::LookAt(pods) => {
                assert!(pods.iter().all(|(_, path, netns)| netns.is_at(path)));
                None
            }
            Effect::LookAtDeleted(..) => unreachable!("no DEL here names another path"),
            Effect::Destroy(namespaces, pairs) => {
                for netns in namespaces {
                    let diag = netns.diag.lock();
                    sockdiag::destroy(std::os::fd::AsFd::as_fd(&*diag), &pairs)
                        .expect("sockets are destroyed");
                }
                None
            }
            Effect::Tell { message, fds, .. } => self.told(message, &fds),
        }
    }

    fn told(
        &mut self,
        message: ToTunnel,
        fds: &[Arc<dyn std::os::fd::AsFd + Send + Sync>],
    ) -> Option<Input> {
        let ToTunnel::AddPod { uid, listeners, .. } = message else {
            return None;
        };
        for (kind, fd) in listeners.iter().zip(&fds[1..]) {
            let fd: OwnedFd = fd.as_fd().try_clone_to_owned().expect("dup");
            let listener = TcpListener::from(fd);
            self.listeners.insert((name_of(&uid), *kind), listener);
        }
        Some(Input::FromTunnel {
            link: 1,
            message: ToAgent::PodReady { uid },
            fds: Vec::new(),
        })
    }

    /// Makes pods known, and adds them.
    pub fn enrol(&mut self, pods: &[&'static str]) {
        let workloads = pods
            .iter()
            .map(|p| Arc::new(workload(p, &self.addresses[p])))
            .collect();
        self.send(Input::Xds(Box::new(Update {
            workloads,
            policies_synced: true,
            addresses_synced: true,
            ..Update::default()
        })));
        for pod in pods {
            let (reply, mut answer) = oneshot::channel();
            self.send(Input::Cni(Box::new(self.request(pod)), reply));
            let answer = answer.try_recv().expect("an answer");
            assert!(answer.ok && answer.enrolled, "{answer:?}");
        }
    }

    /// Another tunnel comes, in this cgroup.
    pub fn replace_tunnel(&mut self, link: u64, cgroup: &Path) {
        self.send(Input::TunnelUp {
            link,
            instance: format!("test-{link}"),
            cgroup: cgroup::id_of(Some(cgroup)),
        });
    }

    fn request(&self, pod: &'static str) -> Request {
        Request {
            op: Op::Add,
            namespace: "test".into(),
            name: pod.into(),
            uid: String::new(),
            netns: self.netns[pod].clone(),
            addresses: self.addresses[pod].clone(),
            pod_labels: None,
            namespace_labels: None,
        }
    }

    /// A policy comes.
    pub fn policy(&mut self, policy: Policy) {
        self.send(Input::Xds(Box::new(Update {
            policies: vec![Arc::new(policy)],
            ..Update::default()
        })));
    }

    /// Accepts a captured connection, checks its original destination, and resets it.
    pub fn accept_outbound(&mut self, pod: &str, original: SocketAddr) {
        let stream = self.accept(pod, Traffic::Outbound, original.is_ipv4());
        let found = original_destination(&stream);
        assert_eq!(found, original);
    }

    /// Accepts a captured connection; whether the kernel tells this process where it was to go.
    pub fn is_answered(&mut self, pod: &str, v4: bool) -> bool {
        use nix::sys::socket::{getsockopt, sockopt};
        let stream = self.accept(pod, Traffic::Outbound, v4);
        match v4 {
            true => getsockopt(&stream, sockopt::OriginalDst).is_ok(),
            false => getsockopt(&stream, sockopt::Ip6tOriginalDst).is_ok(),
        }
    }

    /// Accepts a connection that is neither HBONE nor authorised.
    pub fn accept_plaintext(&mut self, pod: &str, v4: bool) {
        drop(self.accept(pod, Traffic::Plaintext, v4));
    }

    /// Accepts one connection.
    pub fn accept(&mut self, pod: &str, kind: Traffic, v4: bool) -> TcpStream {
        let deadline = Instant::now() + Duration::from_secs(5);
        let family = if v4 { Family::V4 } else { Family::V6 };
        loop {
            match self.listeners[&(pod.to_owned(), ListenerKind { kind, family })].accept() {
                Ok((stream, _)) => return stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => panic!("nothing arrived at the {kind:?} listener of {pod}: {e}"),
            }
        }
    }

    /// Handshakes that are authorised.
    pub fn authorised(&self) -> u64 {
        self.entries("flows")
    }

    /// Entries of a map.
    pub fn entries(&self, map: &str) -> u64 {
        let usage = observe::usage(&self.pins);
        let found = usage.iter().find(|m| m.name == map).expect("a map");
        found.entries.expect("it can be counted")
    }

    /// Live direct flows.
    pub fn live(&self) -> usize {
        observe::direct_conns(&self.pins).len()
    }

    /// Handles events and time until `met`, at most five seconds.
    pub fn until(&mut self, what: &str, met: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !met(self) {
            assert!(Instant::now() < deadline, "{what} did not come in time");
            let next =
                async { tokio::time::timeout(Duration::from_millis(50), self.events.next()).await };
            let batch = self.runtime.block_on(next);
            if let Ok(Ok(batch)) = batch {
                batch.iter().for_each(|event| self.event(event));
            }
            self.send(Input::Tick);
        }
    }

    fn event(&mut self, event: &Event) {
        if event.kind == EventKind::VerdictWanted as u32 {
            self.wanted += 1;
            self.send(Input::Wanted(vec![event.question]));
        } else if event.kind == EventKind::DirectClose as u32 {
            self.closed += 1;
            if event.bytes_sent > 0 {
                self.carried.push((event.bytes_sent, event.bytes_received));
            }
        }
    }
}

fn join(cgroup: &Path) {
    let me = std::process::id().to_string();
    std::fs::write(cgroup.join("cgroup.procs"), me).expect("joining a cgroup");
}

/// By `SO_ORIGINAL_DST`.
fn original_destination(stream: &TcpStream) -> SocketAddr {
    use nix::sys::socket::{getsockopt, sockopt};
    if stream.local_addr().expect("a local address").is_ipv4() {
        let a = getsockopt(stream, sockopt::OriginalDst).expect("an original destination");
        let ip = Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr));
        return SocketAddr::new(ip.into(), u16::from_be(a.sin_port));
    }
    let a = getsockopt(stream, sockopt::Ip6tOriginalDst).expect("an original destination");
    SocketAddr::new(
        Ipv6Addr::from(a.sin6_addr.s6_addr).into(),
        u16::from_be(a.sin6_port),
    )
}

fn options() -> Options {
    Options {
        node: "n".into(),
        cluster: "c".into(),
        tunnel_wait: Duration::from_secs(10),
        add_wait: Duration::from_secs(10),
        exempt: Vec::new(),
        runtime: false,
        port_reuse: "/proc/sys/net/ipv4/tcp_tw_reuse".into(),
        direct: DirectSettings::default(),
    }
}

/// Denies everything in a namespace.
pub fn deny_all(namespace: &str) -> Policy {
    Policy {
        key: PolicyKey {
            namespace: namespace.into(),
            name: "deny".into(),
        },
        scope: PolicyScope::Namespace,
        action: Action::Deny,
        audit: None,
        rules: vec![Rule::default()],
    }
}

fn name_of(uid: &str) -> String {
    uid.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A pod in the mesh on this node.
pub fn workload(name: &str, addresses: &[IpAddr]) -> Workload {
    Workload {
        uid: Uid::from(format!("c//Pod/test/{name}").as_str()),
        name: name.into(),
        namespace: "test".into(),
        addresses: addresses.to_vec(),
        hostname: "".into(),
        network: "".into(),
        protocol: TunnelProtocol::Hbone,
        trust_domain: "cluster.local".into(),
        service_account: name.into(),
        node: "n".into(),
        cluster: "c".into(),
        canonical_name: name.into(),
        canonical_revision: "latest".into(),
        workload_name: name.into(),
        kind: Default::default(),
        waypoint: None,
        network_gateway: None,
        native_tunnel: false,
        policies: Vec::new(),
        health: Default::default(),
        locality: Default::default(),
        host_network: false,
        capacity: 1,
        services: Default::default(),
        direct_flows_off: false,
        probe_ports: vec![9090],
        mesh_by_pod: false,
    }
}
