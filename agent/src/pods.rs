//! The pods of this node as the agent remembers them, in the mesh or not.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use warren_abi::{LISTENER_HBONE, LISTENER_OUTBOUND, LISTENER_PLAINTEXT, ListenerKey};
use warren_api::node::{Family, ListenerKind, Traffic};
use warren_core::workload::Uid;

use crate::cni::Answer;
use crate::netns::Netns;

pub mod memory;
pub mod store;

/// What is kept of a pod beyond the life of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The workload's unique name.
    pub workload: String,
    /// This pod's number in the kernel maps; never given to another pod.
    pub number: u32,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// The Kubernetes UID, where it was told.
    pub uid: String,
    /// Path of the network namespace.
    pub netns: PathBuf,
    /// The network namespace's cookie, 0 while it is not known.
    pub cookie: u64,
    /// The pod's addresses, canonical.
    pub addresses: Vec<IpAddr>,
    /// Whether it was in the mesh.
    pub enrolled: bool,
    /// It was taken into the mesh in doubt: its own labels are not known yet.
    #[serde(default)]
    pub in_doubt: bool,
    /// What `tcp_tw_reuse` was in its network namespace before the agent set it; None while it is not set.
    #[serde(default)]
    pub former_port_reuse: Option<u8>,
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its network namespace is being opened.
    #[default]
    Opening,
    /// Remembered, not in the mesh.
    Idle,
    /// Listeners are being made, or the tunnel is awaited.
    Preparing,
    /// The tunnel was told and has not answered.
    Offered,
    /// In the mesh.
    Enrolled,
    /// Let go: nothing new is captured, and what was on its way is still served.
    Leaving,
}

/// A listener of the tunnel inside the pod: the fd store's entry.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Which traffic and family.
    pub kind: ListenerKind,
    /// Its key in the kernel.
    pub key: ListenerKey,
    /// The agent's duplicate.
    pub fd: Arc<OwnedFd>,
}

/// Somebody who waits for an ADD to end.
#[derive(Debug)]
pub struct Waiter {
    /// When to stop.
    pub deadline: Instant,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
}

/// One pod.
#[derive(Debug)]
pub struct Pod {
    /// What is kept.
    pub record: Record,
    /// The workload's unique name.
    pub uid: Uid,
    /// How far it has come.
    pub stage: Stage,
    /// Its network namespace, once open.
    pub netns: Option<Arc<Netns>>,
    /// The fd store's entries.
    pub listeners: Vec<Listener>,
    /// Listeners are being made now.
    pub listening: bool,
    /// An earlier agent made its listeners: the tunnel has to be asked for them.
    pub recover: bool,
    /// When the tunnel was last told.
    pub offered_at: Option<Instant>,
    /// Until when a pod that was let go is served.
    pub served_until: Option<Instant>,
    /// Who waits.
    pub waiters: Vec<Waiter>,
    /// Why it could not be let in last time.
    pub last_error: Option<String>,
    /// Not to be tried again before.
    pub retry_at: Option<Instant>,
    /// Probe ports that the kernel was told.
    pub probe_ports: BTreeSet<u16>,
    /// What its labels say of the mesh, where they are known.
    pub labelled: Option<bool>,
    /// Whether it belongs into the mesh for as long as the controller does not know it.
    pub presumed: Option<bool>,
    /// When the controller counts as silent about it, and something is presumed; None once it does.
    pub silent_at: Option<Instant>,
    /// How often the container runtime was asked for its labels.
    pub asked: u32,
    /// Its entry as the kernel was told. Not told again while it is the same: a map gives the memory of an entry that was replaced
    /// to the next one, and a program that is reading it would see another pod's.
    pub entry: Option<warren_abi::Pod>,
}

impl Pod {
    /// A pod whose network namespace has yet to be opened.
    pub fn new(record: Record) -> Self {
        Self {
            uid: Uid::from(record.workload.as_str()),
            recover: record.enrolled,
            stage: Stage::Opening,
            netns: None,
            listeners: Vec::new(),
            listening: false,
            offered_at: None,
            served_until: None,
            waiters: Vec::new(),
            last_error: None,
            retry_at: None,
            probe_ports: BTreeSet::new(),
            labelled: None,
            presumed: None,
            silent_at: None,
            asked: 0,
            entry: None,
            record,
        }
    }

    /// Whether it may be captured before a tunnel serves it: nothing runs in it before its ADD is answered.
    pub fn is_held(&self) -> bool {
        self.presumed == Some(true) && !self.waiters.is_empty()
    }

    /// Its address of one family.
    pub fn ip(&self, v4: bool) -> Option<IpAddr> {
        self.record
            .addresses
            .iter()
            .copied()
            .find(|ip| ip.is_ipv4() == v4)
    }

    /// The listeners that it needs, each with the address that it stands for.
    pub fn wanted_listeners(&self) -> Vec<(ListenerKind, IpAddr)> {
        let kinds = [Traffic::Outbound, Traffic::Plaintext, Traffic::Hbone];
        let one = |ip: &IpAddr| {
            let (ip, family) = (*ip, if ip.is_ipv4() { Family::V4 } else { Family::V6 });
            kinds
                .into_iter()
                .map(move |kind| (ListenerKind { kind, family }, ip))
        };
        self.record.addresses.iter().flat_map(one).collect()
    }
}

/// The kernel's key of a listener.
pub fn listener_key(kind: ListenerKind, ip: IpAddr) -> ListenerKey {
    let kind = match kind.kind {
        Traffic::Outbound => LISTENER_OUTBOUND,
        Traffic::Plaintext => LISTENER_PLAINTEXT,
        Traffic::Hbone => LISTENER_HBONE,
    };
    ListenerKey {
        ip: ip.into(),
        kind,
    }
}
