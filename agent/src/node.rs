//! The one owner of the agent's state. Every input is handled at once and without waiting; what takes time is an [`Effect`]
//! that somebody else carries out and whose end comes back as an input.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use warren_abi::Config;
use warren_core::Mesh;
use warren_core::direct::DirectSettings;
use warren_core::workload::{Locality, Uid};

use crate::accounting::Names;
use crate::kernel::{Done, Kernel};
use crate::pods::Pod;
use crate::pods::memory::Namespaces;
use crate::pods::store::Saved;

mod answers;
mod cni;
mod direct;
mod enrol;
mod farewell;
mod message;
mod model;
mod paths;
mod ports;
mod presume;
mod restore;
mod services;
mod tunnel;
mod view;
mod waiters;

#[cfg(test)]
mod tests;

pub use message::{Effect, Input, KeptFile};
pub use restore::Leftover;
pub use view::{PodView, View};

use answers::Answers;
use paths::Paths;
use services::ServiceTable;

/// Pause before a file that could not be written is tried again.
const REWRITE: Duration = Duration::from_secs(5);

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's name.
    pub node: Arc<str>,
    /// This cluster's name, the first part of every workload's unique name.
    pub cluster: Arc<str>,
    /// How long listeners outlive a tunnel that is gone.
    pub tunnel_wait: Duration,
    /// How long ADD waits.
    pub add_wait: Duration,
    /// Namespaces whose pods may start while the controller is away.
    pub exempt: Vec<String>,
    /// Whether the container runtime can be asked for the labels of pods.
    pub runtime: bool,
    /// The sysctl that says how ports in TIME_WAIT are reused.
    pub port_reuse: PathBuf,
    /// Where direct flows are off.
    pub direct: DirectSettings,
}

/// The tunnel as the node knows it.
#[derive(Debug, Default)]
struct Tunnel {
    /// The connection that is used; None while there is none.
    link: Option<u64>,
    /// Who is at its other end.
    instance: String,
    /// Since when there is none.
    gone_since: Option<Instant>,
    /// Its duplicates were asked for, and this is how long it may take to answer.
    recovering_until: Option<Instant>,
    /// It was told that all pods were sent.
    synced: bool,
}

/// The owner of the agent's state.
pub struct Node<K> {
    options: Options,
    kernel: K,
    mesh: Arc<RwLock<Mesh>>,
    names: Arc<Names>,
    pods: BTreeMap<Uid, Pod>,
    by_number: HashMap<u32, Uid>,
    next_number: u32,
    /// What was last heard of namespaces.
    memory: Namespaces,
    /// It differs from what was kept.
    memory_changed: bool,
    services: ServiceTable,
    config: Config,
    tunnel: Tunnel,
    locality: Locality,
    policies_synced: bool,
    addresses_synced: bool,
    paths: Paths,
    answers: Answers,
    /// When the generation last changed.
    generation_since: Instant,
    /// When the pods' network namespaces were last looked at.
    looked_at: Instant,
    /// When live direct flows are to be looked at again.
    rescans: Vec<Instant>,
    effects: Vec<Effect>,
    /// Files that could not be written, and when they are tried again.
    unwritten: BTreeMap<KeptFile, Instant>,
    kernel_errors: u64,
    /// It was said that ports cannot be made reusable.
    ports_said: bool,
}

impl<K: Kernel> Node<K> {
    /// A node without pods; [`Node::restore`] comes next.
    pub fn new(
        options: Options,
        kernel: K,
        mesh: Arc<RwLock<Mesh>>,
        names: Arc<Names>,
        now: Instant,
    ) -> Self {
        Self {
            options,
            kernel,
            mesh,
            names,
            pods: BTreeMap::new(),
            by_number: HashMap::new(),
            next_number: 1,
            memory: Namespaces::default(),
            memory_changed: false,
            services: ServiceTable::default(),
            config: Config::default(),
            tunnel: Tunnel {
                gone_since: Some(now),
                ..Tunnel::default()
            },
            locality: Locality::default(),
            policies_synced: false,
            addresses_synced: false,
            paths: Paths::default(),
            answers: Answers::default(),
            generation_since: now,
            looked_at: now,
            rescans: Vec::new(),
            effects: Vec::new(),
            unwritten: BTreeMap::new(),
            kernel_errors: 0,
            ports_said: false,
        }
    }

    /// Handles one input.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Cni(request, reply) => self.cni(*request, reply, now),
            Input::Found(request) => self.found(*request, now),
            Input::Opened(number, result) => self.opened(number, result, now),
            Input::Listening(number, result) => self.listening(number, result, now),
            Input::Labels(number, labels) => self.labels(number, labels, now),
            Input::TunnelUp {
                link,
                instance,
                cgroup,
            } => self.tunnel_up(link, instance, cgroup, now),
            Input::TunnelDown { link } => self.tunnel_down(link, now),
            Input::FromTunnel { link, message, fds } => self.hear(link, message, fds, now),
            Input::Xds(update) => self.apply(*update, now),
            Input::Wanted(questions) => {
                questions.iter().for_each(|q| self.answer_question(q, now));
            }
            Input::TrialListens(trial, result) => self.trial_listens(trial, result, now),
            Input::TrialEnded(trial, result) => self.trial_ended(&trial, result, now),
            Input::Gone(numbers) => self.pods_gone(&numbers),
            Input::Cgroups { tunnel, kubelet } => self.cgroups(tunnel, kubelet),
            Input::DirectFlows(on) => self.switch_direct(on, now),
            Input::KernelLog(on) => self.switch_log(on),
            Input::Look(reply) => drop(reply.send(self.view())),
            Input::Tick => self.tick(now),
        }
    }

    /// What has to be done now, in this order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A file could not be written. It is tried again, since what is on the disk has been overtaken.
    pub fn unwritten(&mut self, file: KeptFile, now: Instant) {
        self.unwritten.insert(file, now + REWRITE);
    }

    /// The kernel's side, for what only looks at it.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    fn tick(&mut self, now: Instant) {
        self.tunnel_tick(now);
        self.pods_tick(now);
        self.paths_tick(now);
        let unwritten = std::mem::take(&mut self.unwritten).into_iter();
        let (due, later): (BTreeMap<_, _>, _) = unwritten.partition(|(_, at)| *at <= now);
        self.unwritten = later;
        if due.contains_key(&KeptFile::Pods) {
            self.save();
        }
        self.memory_changed |= due.contains_key(&KeptFile::Namespaces);
        if std::mem::take(&mut self.memory_changed) {
            self.effects.push(Effect::Remember(self.memory.clone()));
        }
        self.services.collect(&mut self.kernel, now);
        if self.rescans.iter().any(|at| *at <= now) {
            self.rescans.retain(|at| *at > now);
            self.end_denied_flows();
        }
    }

    fn save(&mut self) {
        let pods = self.pods.values().map(|p| p.record.clone()).collect();
        self.effects
            .push(Effect::Save(Saved::new(self.next_number, pods)));
    }

    /// Logs and counts a failed change; true where it was done.
    fn done(&mut self, result: Done) -> bool {
        match result {
            Ok(()) => true,
            Err(error) => {
                self.kernel_errors += 1;
                tracing::error!("{error}");
                false
            }
        }
    }

    fn write_config(&mut self) {
        let done = self.kernel.set_config(&self.config);
        self.done(done);
    }
}
