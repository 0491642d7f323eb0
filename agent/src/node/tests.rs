//! The node against a kernel that remembers what it was told, and a tunnel that the test plays.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::oneshot::{self, error::TryRecvError};
use warren_api::node::{ToAgent, ToTunnel};
use warren_api::xds::Update;
use warren_core::direct::DirectSettings;
use warren_core::workload::{TunnelProtocol, Uid, Workload};
use warren_core::{Mesh, Service};

use super::{Effect, Input, KeptFile, Leftover, Node, Options};
use crate::accounting::Names;
use crate::cni::{Answer, Op, Request};
use crate::kernel::fake::FakeKernel;
use crate::netns::Netns;
use crate::pods::memory::Namespaces;
use crate::pods::store::Saved;

mod direct;
mod enrol;
mod presume;
mod restart;
mod services;

/// A node with everything around it.
struct Rig {
    node: Node<FakeKernel>,
    now: Instant,
    saved: Option<Saved>,
    /// Messages to the tunnel that the test has not looked at.
    told: Vec<ToTunnel>,
    /// Whether listeners are made when the node wants them.
    hands: bool,
    /// How trials end; None: they do not.
    trials: Option<Result<(), String>>,
    pending: Vec<super::paths::Trial>,
    /// What was to be remembered last.
    memory: Option<Namespaces>,
    /// No file can be written.
    full: bool,
    /// Sandboxes that the container runtime lists, by pod, with their labels.
    sandboxes: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether it answers.
    runtime: bool,
    /// Questions to it.
    asked: Vec<(u32, String)>,
    /// Network namespaces that a DEL named, where they are to be looked at.
    deleted: Vec<(u32, Option<PathBuf>)>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Leftover::default())
    }

    fn with(left: Leftover) -> Self {
        let options = Options {
            node: "n1".into(),
            cluster: "c".into(),
            tunnel_wait: Duration::from_secs(10),
            add_wait: Duration::from_secs(10),
            exempt: vec!["kube-system".into()],
            runtime: true,
            port_reuse: PathBuf::new(),
            direct: DirectSettings::default(),
        };
        let now = Instant::now();
        let mesh = Arc::new(RwLock::new(Mesh::default()));
        let mut node = Node::new(
            options,
            FakeKernel::default(),
            mesh,
            Arc::new(Names::default()),
            now,
        );
        node.restore(left, |record| Ok(Netns::fake(record.cookie)), now);
        let mut rig = Self {
            node,
            now,
            saved: None,
            told: Vec::new(),
            hands: true,
            trials: Some(Ok(())),
            pending: Vec::new(),
            memory: None,
            full: false,
            sandboxes: BTreeMap::new(),
            runtime: true,
            asked: Vec::new(),
            deleted: Vec::new(),
        };
        rig.work();
        rig
    }

    fn send(&mut self, input: Input) {
        self.node.handle(input, self.now);
        self.work();
    }

    /// Carries out effects until there are none.
    fn work(&mut self) {
        loop {
            let effects = self.node.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Open(number, path) => {
                let cookie = 1000 + u64::from(number);
                let opened = if path.ends_with("missing") {
                    Err(std::io::ErrorKind::NotFound.into())
                } else {
                    Ok(Netns::fake(cookie))
                };
                self.node.handle(Input::Opened(number, opened), self.now);
            }
            Effect::Listen(number, _, wanted) if self.hands => {
                let made = wanted
                    .into_iter()
                    .map(|(kind, ip)| (kind, ip, null()))
                    .collect();
                self.node
                    .handle(Input::Listening(number, Ok(made)), self.now);
            }
            Effect::TrialListen(trial, _) => {
                let listening = Input::TrialListens(trial, Ok((null(), 40_000)));
                self.node.handle(listening, self.now);
            }
            Effect::TrialConnect(trial, ..) => match self.trials.clone() {
                Some(result) => self.node.handle(Input::TrialEnded(trial, result), self.now),
                None => self.pending.push(trial),
            },
            Effect::Listen(..) | Effect::Destroy(..) | Effect::LookAt(..) => {}
            Effect::LookAtDeleted(number, asked, ..) => self.deleted.push((number, asked)),
            Effect::Tell { message, .. } => self.told.push(message),
            Effect::Save(_) if self.full => self.node.unwritten(KeptFile::Pods, self.now),
            Effect::Remember(_) if self.full => self.node.unwritten(KeptFile::Namespaces, self.now),
            Effect::Save(saved) => self.saved = Some(saved),
            Effect::Remember(memory) => self.memory = Some(memory),
            Effect::Ask(number, pod) => {
                let labels = self.sandboxes.get(&pod.name).cloned();
                self.asked.push((number, pod.name));
                let answer = if self.runtime {
                    Ok(labels)
                } else {
                    Err("refused".into())
                };
                self.node.handle(Input::Labels(number, answer), self.now);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.send(Input::Tick);
    }

    fn add(&mut self, name: &str, ip: &str) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Cni(Box::new(request(Op::Add, name, ip)), reply));
        answer
    }

    fn del(&mut self, request: Request) {
        let (reply, mut answer) = oneshot::channel();
        self.send(Input::Cni(Box::new(request), reply));
        assert!(answer.try_recv().unwrap().ok);
    }

    fn tunnel_up(&mut self, link: u64) {
        self.send(Input::TunnelUp {
            link,
            instance: format!("tunnel-{link}"),
            cgroup: 0,
        });
    }

    fn say(&mut self, link: u64, message: ToAgent) {
        self.send(Input::FromTunnel {
            link,
            message,
            fds: Vec::new(),
        });
    }

    fn ready(&mut self, link: u64, name: &str) {
        self.say(
            link,
            ToAgent::PodReady {
                uid: uid(name).to_string(),
            },
        );
    }

    fn xds(&mut self, update: Update) {
        self.send(Input::Xds(Box::new(update)));
    }

    fn workloads(&mut self, workloads: Vec<Workload>) {
        let workloads = workloads.into_iter().map(Arc::new).collect();
        self.xds(Update {
            workloads,
            ..Update::default()
        });
    }

    fn service(&mut self, service: Service) {
        self.xds(Update {
            services: vec![Arc::new(service)],
            addresses_synced: true,
            ..Update::default()
        });
    }

    /// A pod in the mesh: known, added, served.
    fn enrolled(&mut self, name: &str, ip: &str) -> u64 {
        let synced = Update {
            policies_synced: true,
            addresses_synced: true,
            ..Update::default()
        };
        self.xds(synced);
        self.workloads(vec![workload(name, ip)]);
        let mut answer = self.add(name, ip);
        self.ready(1, name);
        assert_eq!(answer.try_recv().unwrap(), Answer::done(true), "{name}");
        self.told.clear();
        self.node.pods[&uid(name)].record.cookie
    }

    fn number(&self, name: &str) -> u32 {
        self.node.pods[&uid(name)].record.number
    }
}

fn waits(answer: &mut oneshot::Receiver<Answer>) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

fn request(op: Op, name: &str, ip: &str) -> Request {
    Request {
        op,
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        netns: PathBuf::from("/run/netns").join(name),
        addresses: vec![ip.parse().unwrap()],
        pod_labels: None,
        namespace_labels: None,
    }
}

fn uid(name: &str) -> Uid {
    Uid::from(format!("c//Pod/shop/{name}").as_str())
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// An enrolled workload on this node.
fn workload(name: &str, ip: &str) -> Workload {
    Workload {
        uid: uid(name),
        name: name.into(),
        namespace: "shop".into(),
        addresses: vec![ip.parse().unwrap()],
        hostname: "".into(),
        network: "".into(),
        protocol: TunnelProtocol::Hbone,
        trust_domain: "cluster.local".into(),
        service_account: name.into(),
        node: "n1".into(),
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
        probe_ports: Vec::new(),
        mesh_by_pod: false,
    }
}
