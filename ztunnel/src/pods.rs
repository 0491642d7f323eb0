//! The pods of this node, as the agent names them: network namespace, listening sockets, in-pod sockets.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use warren_api::node::ListenerKind;
use warren_core::address::canonical;
use warren_core::workload::Uid;

use crate::net::{DeliveryPorts, Sockets};

/// How long a pod counts as new: longer than a handshake that is repeated once.
const NEW: Duration = Duration::from_secs(3);

/// One pod.
pub struct Pod {
    /// The workload's name.
    pub uid: Uid,
    /// The pod's addresses, canonical.
    pub addresses: Vec<IpAddr>,
    /// Sockets inside the pod.
    pub sockets: Sockets,
    /// Source ports of connections to its applications.
    pub ports: DeliveryPorts,
    /// The cookie of its network namespace.
    pub netns_cookie: u64,
    listening: Mutex<Listening>,
    gone: CancellationToken,
    since: Mutex<Instant>,
    live: AtomicUsize,
    emptied: Notify,
    /// Where its connections to destinations outside the mesh come from.
    outside: Mutex<HashSet<SocketAddr>>,
}

#[derive(Default)]
struct Listening {
    /// Our duplicates of the listening sockets.
    sockets: Vec<(ListenerKind, Arc<OwnedFd>)>,
    /// Ends their accept loops.
    stop: CancellationToken,
}

/// A connection of a pod; the pod counts as busy while any lives.
pub struct Busy(Arc<Pod>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

/// A connection from a pod to a destination outside the mesh; the tunnel makes it in plaintext from the pod's own address.
pub struct Outside {
    pod: Arc<Pod>,
    from: SocketAddr,
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.pod.outside.lock().remove(&self.from);
    }
}

impl Pod {
    /// A pod that does not listen yet.
    pub fn new(uid: Uid, netns_cookie: u64, addresses: Vec<IpAddr>, sockets: Sockets) -> Arc<Self> {
        Arc::new(Self {
            uid,
            addresses: addresses.into_iter().map(canonical).collect(),
            sockets,
            ports: DeliveryPorts::default(),
            netns_cookie,
            listening: Mutex::default(),
            gone: CancellationToken::new(),
            since: Mutex::new(Instant::now()),
            live: AtomicUsize::new(0),
            emptied: Notify::new(),
            outside: Mutex::default(),
        })
    }

    /// Takes listening sockets in place of those that it has, whose accept loops end. Returns what ends the new ones.
    pub fn listen(&self, sockets: Vec<(ListenerKind, OwnedFd)>) -> CancellationToken {
        let sockets = sockets
            .into_iter()
            .map(|(k, fd)| (k, Arc::new(fd)))
            .collect();
        let new = Listening {
            sockets,
            stop: CancellationToken::new(),
        };
        let stop = new.stop.clone();
        std::mem::replace(&mut *self.listening.lock(), new)
            .stop
            .cancel();
        stop
    }

    /// Whether it may have sent something before it joined that has yet to arrive.
    pub fn is_new(&self) -> bool {
        self.since.lock().elapsed() < NEW
    }

    /// The agent named it once more: it may have come back.
    pub fn renew(&self) {
        *self.since.lock() = Instant::now();
    }

    /// Counts a connection.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.live.fetch_add(1, Ordering::AcqRel);
        Busy(self.clone())
    }

    /// Notes that the tunnel speaks plaintext from this address of the pod, as long as the answer lives.
    pub fn outside(self: &Arc<Self>, from: SocketAddr) -> Outside {
        self.outside.lock().insert(from);
        let pod = self.clone();
        Outside { pod, from }
    }

    /// Whether the tunnel itself speaks plaintext from this address of the pod.
    pub fn speaks_plain_from(&self, from: SocketAddr) -> bool {
        self.outside.lock().contains(&from)
    }

    /// Connections and HBONE connections from peers that live now.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Completes when no connection lives.
    pub async fn drained(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.live() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Duplicates of the listening sockets.
    pub fn listeners(&self) -> Vec<(ListenerKind, Arc<OwnedFd>)> {
        self.listening.lock().sockets.clone()
    }

    /// Stops accepting and closes the listening sockets; connections go on, but peers open no more streams.
    pub fn retire(&self) {
        drop(self.listen(Vec::new()));
        self.gone.cancel();
    }

    /// Completes when the pod is not served any more.
    pub async fn retired(&self) {
        self.gone.cancelled().await;
    }
}

/// All pods of this node.
#[derive(Default)]
pub struct Pods {
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    by_uid: HashMap<Uid, Arc<Pod>>,
    by_ip: HashMap<IpAddr, Uid>,
}

impl Pods {
    /// Adds a pod; returns the one that it replaces.
    pub fn insert(&self, pod: Arc<Pod>) -> Option<Arc<Pod>> {
        let mut table = self.table.write();
        let old = table.remove(&pod.uid);
        for ip in &pod.addresses {
            table.by_ip.insert(*ip, pod.uid.clone());
        }
        table.by_uid.insert(pod.uid.clone(), pod);
        old
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: &Uid) -> Option<Arc<Pod>> {
        self.table.write().remove(uid)
    }

    /// Finds a pod by name.
    pub fn get(&self, uid: &Uid) -> Option<Arc<Pod>> {
        self.table.read().by_uid.get(uid).cloned()
    }

    /// Finds a pod of this node by its address.
    pub fn by_ip(&self, ip: IpAddr) -> Option<Arc<Pod>> {
        let table = self.table.read();
        table
            .by_ip
            .get(&canonical(ip))
            .and_then(|uid| table.by_uid.get(uid))
            .cloned()
    }

    /// All pods.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.table.read().by_uid.values().cloned().collect()
    }
}

impl Table {
    fn remove(&mut self, uid: &Uid) -> Option<Arc<Pod>> {
        let old = self.by_uid.remove(uid)?;
        for ip in &old.addresses {
            if self.by_ip.get(ip) == Some(uid) {
                self.by_ip.remove(ip);
            }
        }
        Some(old)
    }
}
