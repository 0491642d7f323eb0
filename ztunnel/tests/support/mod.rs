//! A node of two pods in one network namespace, with a certificate authority in memory and the kernel programs played by a map.
//! Needs root for the namespace; without it the tests fail and say so.
#![allow(dead_code, missing_docs)]

use std::collections::HashMap;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::sched::{CloneFlags, unshare};
use parking_lot::Mutex;
use prometheus_client::registry::Registry as MetricsRegistry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as CaIssuer, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use warren_api::ca::Issued;
use warren_api::node::{Family, ListenerKind, Traffic};
use warren_core::balance::AffinityTable;
use warren_core::identity::Identity;
use warren_core::mesh::Change;
use warren_core::workload::{TunnelProtocol, Uid};
use warren_core::{Mesh, Workload};
use warren_hbone::{Limits, Pool, Trust};
use warren_ztunnel::certs::{Certs, Issuer};
use warren_ztunnel::context::Context;
use warren_ztunnel::lanes::Lanes;
use warren_ztunnel::net::{Kernel, OriginalDestination, SocketMaker};
use warren_ztunnel::places::Places;
use warren_ztunnel::pods::Pod;
use warren_ztunnel::record::{Format, Keeper, LogWriter, Metrics};
use warren_ztunnel::{control, listen, state::State};

pub const WEB: &str = "10.7.0.1";
pub const SHOPPER: &str = "10.7.0.2";
pub const LEGACY: &str = "10.7.0.3";
pub const SECOND: &str = "10.7.0.4";
/// What a pod takes of one peer.
pub const PEER_CONNECTIONS: usize = 8;
pub const VIP: &str = "10.7.9.1";

/// Runs a test on a thread with a network namespace of its own.
pub fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    unshare(CloneFlags::CLONE_NEWNET)
        .expect("these tests make network namespaces: run them as root");
    ip("link set lo up");
    for addr in [WEB, SHOPPER, LEGACY, SECOND] {
        ip(&format!("addr add {addr}/32 dev lo"));
    }
    for addr in [WEB, LEGACY, SECOND] {
        ip(&format!(
            "route replace local {addr} dev lo table local src {SHOPPER}"
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(40), test())
            .await
            .expect("in time")
    });
}

/// The `ip` command, in the test's own namespace.
pub fn ip(args: &str) {
    let status = Command::new("ip")
        .args(args.split(' '))
        .status()
        .expect("the `ip` command");
    assert!(status.success(), "ip {args}");
}

/// What the kernel programs would know.
#[derive(Default)]
pub struct FakeKernel {
    pub originals: Mutex<HashMap<SocketAddr, OriginalDestination>>,
    pub declared: Mutex<Vec<SocketAddr>>,
}

impl Kernel for FakeKernel {
    fn original_destination(&self, fd: BorrowedFd<'_>) -> std::io::Result<OriginalDestination> {
        let peer = socket2::SockRef::from(&fd)
            .peer_addr()?
            .as_socket()
            .unwrap();
        self.originals
            .lock()
            .get(&peer)
            .copied()
            .ok_or(std::io::ErrorKind::NotFound.into())
    }

    fn declare_client(&self, _: BorrowedFd<'_>, client: SocketAddr) -> std::io::Result<()> {
        self.declared.lock().push(client);
        Ok(())
    }
}

pub struct Ca {
    issuer: CaIssuer<'static, KeyPair>,
    pub root: CertificateDer<'static>,
    pub life: Duration,
    /// Nothing is issued at the moment.
    pub away: AtomicBool,
}

impl Ca {
    pub fn new(life: Duration) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: CaIssuer::new(params, key),
            root,
            life,
            away: AtomicBool::new(false),
        }
    }

    pub fn sign(&self, id: &Identity) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
        let (from, to) = (SystemTime::now(), SystemTime::now() + self.life);
        params.not_before = (from - Duration::from_secs(1)).into();
        params.not_after = to.into();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            identity: id.clone(),
            chain: vec![cert.der().clone()],
            roots: vec![self.root.clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            not_before: from,
            not_after: to,
            serial: "1".into(),
        }
    }
}

impl Issuer for Ca {
    fn issue<'a>(
        &'a self,
        id: &'a Identity,
        _: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Issued, String>> + Send + 'a>> {
        Box::pin(async move {
            match self.away.load(Ordering::Acquire) {
                true => Err("the authority is away".to_owned()),
                false => Ok(self.sign(id)),
            }
        })
    }
}

/// Collects log lines.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Waits for a line that has all of `parts`.
    pub async fn wait_for(&self, parts: &[&str]) -> String {
        for _ in 0..250 {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            if let Some(line) = text.lines().find(|l| parts.iter().all(|p| l.contains(p))) {
                return line.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "no line with {parts:?} in:\n{}",
            String::from_utf8_lossy(&self.0.lock())
        );
    }
}

pub struct World {
    pub cx: Arc<Context>,
    pub kernel: Arc<FakeKernel>,
    pub ca: Arc<Ca>,
    pub lines: Lines,
    pub metrics: MetricsRegistry,
    maker: SocketMaker,
    pods_changed: Arc<Notify>,
}

pub fn workload(name: &str, ip: &str, enrolled: bool) -> Workload {
    let protocol = if enrolled {
        TunnelProtocol::Hbone
    } else {
        TunnelProtocol::None
    };
    Workload {
        uid: uid(name),
        name: name.into(),
        namespace: "shop".into(),
        addresses: vec![ip.parse().unwrap()],
        hostname: "".into(),
        network: "".into(),
        protocol,
        trust_domain: "cluster.local".into(),
        service_account: name.into(),
        node: "a".into(),
        cluster: "Kubernetes".into(),
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
        probe_ports: Vec::new(),
        mesh_by_pod: false,
    }
}

pub fn uid(name: &str) -> Uid {
    Uid::from(format!("Kubernetes//Pod/shop/{name}").as_str())
}

pub fn addr(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

impl World {
    /// Two enrolled pods, `web` and `shopper`, and one outside the mesh, `legacy`.
    pub async fn new() -> Self {
        let world = Self::with_cert_life(Duration::from_secs(3600)).await;
        world.cx.state.set_synced();
        world
    }

    /// The same before the first complete model.
    pub async fn with_cert_life(life: Duration) -> Self {
        let ca = Arc::new(Ca::new(life));
        let (lines, kernel) = (Lines::default(), Arc::new(FakeKernel::default()));
        let mut metrics = MetricsRegistry::default();
        let trust = Arc::new(Trust::new(std::slice::from_ref(&ca.root)).unwrap());
        let writer = LogWriter::to(Format::Text, lines.clone()).unwrap();
        let family = Metrics::new(&mut metrics);
        let (registry, keeper) = Keeper::new(family.clone(), writer);
        tokio::spawn(keeper.run());
        let limits = Limits::default();
        let cx = Arc::new(Context {
            state: Arc::new(State::default()),
            kernel: kernel.clone(),
            pods: Default::default(),
            certs: Certs::new(ca.clone(), trust.clone(), life, Handle::current()),
            trust,
            pool: Pool::new(limits.clone()),
            limits,
            registry,
            metrics: family,
            complaints: Default::default(),
            handshakes: warren_ztunnel::context::handshakes(),
            peers: Places::new(usize::MAX, PEER_CONNECTIONS),
            affinity: AffinityTable::new(16).into(),
            drain: CancellationToken::new(),
            drain_limit: Duration::from_millis(300),
            agent_synced: AtomicBool::new(true),
            certified: AtomicBool::new(true),
            agent_connected: AtomicBool::new(true),
            missed: Default::default(),
        });
        let pods_changed = Arc::new(Notify::new());
        tokio::spawn(control::keep_certificates(cx.clone(), pods_changed.clone()));
        let maker = SocketMaker::start().unwrap();
        let world = Self {
            cx,
            kernel,
            ca,
            lines,
            metrics,
            maker,
            pods_changed,
        };
        world.update(|m| {
            let mut change = m.upsert_workload(workload("web", WEB, true));
            change.merge(m.upsert_workload(workload("shopper", SHOPPER, true)));
            change.merge(m.upsert_workload(workload("legacy", LEGACY, false)));
            change
        });
        world
            .serve("shopper", SHOPPER, &[(Traffic::Outbound, 15001)])
            .await;
        world
    }

    /// Changes the mesh as an update of the controller does.
    pub fn update(&self, change: impl FnOnce(&mut Mesh) -> Change) -> usize {
        let change = self.cx.state.update(change);
        control::decide_anew(&self.cx, &change)
    }

    /// Serves a pod with these listeners.
    pub async fn serve(&self, name: &str, ip: &str, listeners: &[(Traffic, u16)]) -> Arc<Pod> {
        let netns: OwnedFd = std::fs::File::open("/proc/thread-self/ns/net")
            .unwrap()
            .into();
        let ip: IpAddr = ip.parse().unwrap();
        let pod = Pod::new(uid(name), 1, vec![ip], self.maker.sockets(netns));
        self.cx.pods.insert(pod.clone());
        let sockets = listeners.iter().map(|(kind, port)| {
            let listener = std::net::TcpListener::bind((ip, *port)).unwrap();
            (
                ListenerKind {
                    kind: *kind,
                    family: Family::V4,
                },
                OwnedFd::from(listener),
            )
        });
        listen::start(&self.cx, &pod, sockets.collect(), &Lanes::current()).unwrap();
        self.pods_changed.notify_one();
        pod
    }

    /// The usual server pod.
    pub async fn serve_web(&self) -> Arc<Pod> {
        self.serve("web", WEB, &[(Traffic::Hbone, 15008)]).await
    }

    /// Connects as an application in the `shopper` pod would to `asked`.
    pub async fn dial(&self, asked: SocketAddr) -> TcpStream {
        self.dial_with(OriginalDestination {
            asked,
            backend: None,
        })
        .await
    }

    pub async fn dial_with(&self, original: OriginalDestination) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(addr(SHOPPER, 0)).unwrap();
        self.kernel
            .originals
            .lock()
            .insert(socket.local_addr().unwrap(), original);
        socket.connect(addr(SHOPPER, 15001)).await.unwrap()
    }

    pub fn metrics_text(&self) -> String {
        self.cx.metrics.observe(&self.cx.registry);
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &self.metrics).unwrap();
        out
    }
}

/// An application that echoes, on `ip:port`.
pub async fn echo(ip: &str, port: u16) -> SocketAddr {
    let listener = TcpListener::bind(addr(ip, port)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut s, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut r, mut w) = s.split();
                let _ = tokio::io::copy(&mut r, &mut w).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut w).await;
            });
        }
    });
    at
}

/// A round trip to an application that echoes.
pub async fn ping(s: &mut TcpStream) -> std::io::Result<()> {
    s.write_all(b"ping").await?;
    let mut buf = [0; 4];
    s.read_exact(&mut buf).await?;
    assert_eq!(&buf, b"ping");
    Ok(())
}

/// The next read fails by a reset.
pub async fn assert_reset(s: &mut TcpStream) {
    let _ = s.write_all(b"ping").await;
    let e = timeout(Duration::from_secs(15), s.read_u8())
        .await
        .expect("in time")
        .expect_err("a reset");
    assert_eq!(e.kind(), ErrorKind::ConnectionReset);
}
