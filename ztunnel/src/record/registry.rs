//! Live connections, found by the pod that they lead to, so that a change of policy costs as much as the pods that it reaches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warren_core::Mesh;
use warren_core::mesh::Change;
use warren_core::policy::Connection;
use warren_core::workload::Uid;
use warren_hbone::Counters;

use super::info::{Direction, End, Flag, Info, Verdict};

/// Ended connections that may wait for the keeper.
const QUEUE: usize = 16 << 10;

/// One connection.
#[derive(Debug)]
pub struct Live {
    /// Unique in this process.
    pub id: u64,
    /// When it began.
    pub began: SystemTime,
    /// The same on the monotonic clock.
    pub started: Instant,
    /// Its facts.
    pub info: Info,
    /// Bytes moved.
    pub counters: Counters,
    /// What metrics have seen already.
    pub(super) reported: Mutex<Reported>,
    kill: CancellationToken,
    killed_by: OnceLock<Verdict>,
}

/// What metrics have seen of a connection.
#[derive(Debug, Default)]
pub(super) struct Reported {
    pub(super) opened: bool,
    pub(super) up: u64,
    pub(super) down: u64,
}

impl Live {
    /// What the policy evaluator is asked about, for connections that this tunnel decides on.
    fn question(&self) -> Option<Connection> {
        self.info.verdict.allowed?;
        Some(Connection {
            identity: self.info.source.identity.clone(),
            source: self.info.source.address,
            destination: self.info.destination.address,
        })
    }

    fn destination(&self) -> Option<&Uid> {
        let decided_here =
            self.info.direction != Direction::Outbound || self.info.verdict.allowed.is_some();
        self.info
            .destination
            .workload
            .as_ref()
            .filter(|_| decided_here)
            .map(|w| &w.uid)
    }

    /// The verdict that holds: that of the start, or that which ended it.
    pub fn verdict(&self) -> &Verdict {
        self.killed_by.get().unwrap_or(&self.info.verdict)
    }

    fn end_by(&self, verdict: Verdict) -> bool {
        let first = self.killed_by.set(verdict).is_ok();
        self.kill.cancel();
        first
    }
}

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Event {
    /// A policy that only reports has matched.
    Audited(Arc<Live>),
    /// Denied, at the start or later; with the denial's number.
    Denied(Arc<Live>, u64),
    /// It ended.
    Ended(Arc<Live>, End),
}

#[derive(Default)]
struct Index {
    all: HashMap<u64, Arc<Live>>,
    by_destination: HashMap<Uid, HashMap<u64, Arc<Live>>>,
}

/// All live connections of this tunnel.
pub struct Registry {
    index: Mutex<Index>,
    next: AtomicU64,
    events: mpsc::Sender<Event>,
    /// Counts denials where they happen, so that one whose line is lost leaves a gap.
    denials: Counter,
    lost: Arc<AtomicU64>,
}

impl Registry {
    /// An empty registry and the queue of what happens in it. `lost` counts what found the queue full.
    pub(super) fn new(
        denials: Counter,
        lost: Arc<AtomicU64>,
    ) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (events, rx) = mpsc::channel(QUEUE);
        let this = Self {
            index: Mutex::default(),
            next: AtomicU64::new(1),
            events,
            denials,
            lost,
        };
        (Arc::new(this), rx)
    }

    /// Registers a connection. To be called while the mesh is locked for the decision, so that no change falls between.
    pub fn open(self: &Arc<Self>, info: Info) -> Open {
        let live = Arc::new(Live {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            began: SystemTime::now(),
            started: Instant::now(),
            info,
            counters: Counters::default(),
            reported: Mutex::default(),
            kill: CancellationToken::new(),
            killed_by: OnceLock::new(),
        });
        let mut index = self.index.lock();
        index.all.insert(live.id, live.clone());
        if let Some(uid) = live.destination() {
            index
                .by_destination
                .entry(uid.clone())
                .or_default()
                .insert(live.id, live.clone());
        }
        drop(index);
        let verdict = &live.info.verdict;
        if !verdict.audited.is_empty() {
            self.tell(Event::Audited(live.clone()));
        }
        if verdict.allowed == Some(false) {
            self.denied(live.clone());
        }
        Open {
            live,
            registry: self.clone(),
            end: None,
        }
    }

    /// All that live now.
    pub fn snapshot(&self) -> Vec<Arc<Live>> {
        self.index.lock().all.values().cloned().collect()
    }

    /// Whether a connection that this tunnel decides on leads to this workload.
    pub fn leads_to(&self, uid: &Uid) -> bool {
        self.index.lock().by_destination.contains_key(uid)
    }

    /// Ends all connections, because this process is about to.
    pub fn end_all(&self) {
        self.snapshot().iter().for_each(|live| live.kill.cancel());
    }

    /// How many live now.
    pub fn len(&self) -> usize {
        self.index.lock().all.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that wait for the keeper.
    pub fn waiting(&self) -> usize {
        self.events.max_capacity() - self.events.capacity()
    }

    /// Log lines that were lost because too many connections ended at once, or because the log was not read.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Decides anew on the connections that `change` reaches, and ends those that are denied now. Returns how many.
    pub fn reevaluate(&self, mesh: &Mesh, change: &Change) -> usize {
        let mut ended = 0;
        for (uid, lives) in self.reached(mesh, change) {
            let Some(dest) = mesh.workload(&uid) else {
                continue;
            };
            for live in lives {
                let Some(question) = live.question() else {
                    continue;
                };
                let decision = mesh.decide(&question, dest);
                if decision.ends_connections() && live.end_by(decision.into()) {
                    ended += 1;
                    self.denied(live);
                }
            }
        }
        ended
    }

    fn reached(&self, mesh: &Mesh, change: &Change) -> Vec<(Uid, Vec<Arc<Live>>)> {
        let index = self.index.lock();
        let hit = |uid: &Uid| {
            mesh.workload(uid)
                .is_some_and(|dest| change.affects(None, dest))
        };
        let lives = index.by_destination.iter().filter(|(uid, _)| hit(uid));
        lives
            .map(|(uid, l)| (uid.clone(), l.values().cloned().collect()))
            .collect()
    }

    fn denied(&self, live: Arc<Live>) {
        let number = self.denials.inc() + 1;
        self.tell(Event::Denied(live, number));
    }

    fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn close(&self, live: Arc<Live>, end: End) {
        let mut index = self.index.lock();
        index.all.remove(&live.id);
        if let Some(uid) = live.destination()
            && let Some(of_pod) = index.by_destination.get_mut(uid)
        {
            of_pod.remove(&live.id);
            if of_pod.is_empty() {
                index.by_destination.remove(uid);
            }
        }
        drop(index);
        self.tell(Event::Ended(live, end));
    }
}

/// A connection that counts as open until this is dropped.
pub struct Open {
    live: Arc<Live>,
    registry: Arc<Registry>,
    end: Option<End>,
}

impl Open {
    /// Its facts and counters.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Completes when the connection has to end: by a change of policy, or because this process ends.
    pub async fn killed(&self) {
        self.live.kill.cancelled().await;
    }

    /// How the connection ended, once [`Open::killed`] has completed.
    pub fn ended_by(&self) -> End {
        match self.live.killed_by.get() {
            Some(verdict) => End::failed(Flag::Revoked, &verdict.reason),
            None => End::failed(Flag::Drain, "the tunnel is going away"),
        }
    }

    /// Closes the record.
    pub fn finish(mut self, end: End) {
        self.end = Some(end);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let end = self
            .end
            .take()
            .unwrap_or_else(|| End::failed(Flag::Drain, "the tunnel stopped"));
        self.registry.close(self.live.clone(), end);
    }
}
