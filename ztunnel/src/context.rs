//! What every connection's task holds.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use warren_core::Identity;
use warren_core::balance::AffinityTable;
use warren_core::workload::Uid;
use warren_hbone::{Limits, Pool, Trust};

use crate::certs::Certs;
use crate::missed::Missed;
use crate::net::Kernel;
use crate::places::Places;
use crate::pods::Pods;
use crate::record::{Metrics, Registry};
use crate::state::State;
use crate::throttle::Throttle;

/// What a connection waits for: the first complete model, its own pod in the model, a certificate.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Handshakes under way at once.
const HANDSHAKES: usize = 4096;
/// Of one address. A tunnel makes one at a time for a pair of pods and a lane.
const HANDSHAKES_OF_ONE: usize = 128;

/// Places for handshakes.
pub fn handshakes() -> Places<IpAddr> {
    Places::new(HANDSHAKES, HANDSHAKES_OF_ONE)
}

/// Shared by all tasks.
pub struct Context {
    /// The mesh.
    pub state: Arc<State>,
    /// The kernel programs.
    pub kernel: Arc<dyn Kernel>,
    /// This node's pods.
    pub pods: Pods,
    /// This node's certificates.
    pub certs: Arc<Certs>,
    /// The mesh's roots.
    pub trust: Arc<Trust>,
    /// Connections to peers.
    pub pool: Pool,
    /// Sizes and times of HBONE.
    pub limits: Limits,
    /// Live connections.
    pub registry: Arc<Registry>,
    /// Metrics.
    pub metrics: Metrics,
    /// Bounds log lines that strangers cause.
    pub complaints: Throttle,
    /// Places for handshakes under way, as server, by the peer's address.
    pub handshakes: Places<IpAddr>,
    /// Places for established HBONE connections, as server: the pod that they lead to, who the peer is, and from where.
    pub peers: Places<(Uid, Identity, IpAddr)>,
    /// Which endpoint a client was given, for services with affinity.
    pub affinity: Mutex<AffinityTable>,
    /// Cancelled when this process is to end: peers are told, and no new connections are taken over old ones.
    pub drain: CancellationToken,
    /// What connections are given to end by themselves once `drain` is cancelled.
    pub drain_limit: Duration,
    /// The agent has named all pods of the node.
    pub agent_synced: AtomicBool,
    /// The pods that were there when this process began have their certificates, as far as these are to be had.
    pub certified: AtomicBool,
    /// The node socket is connected.
    pub agent_connected: AtomicBool,
    /// Pairs of pods that the agent is to stop direct flows for.
    pub missed: Missed,
}

impl Context {
    /// Ready for traffic: the model is complete, and so is the list of pods.
    pub fn is_ready(&self) -> bool {
        self.state.is_synced() && self.agent_synced.load(std::sync::atomic::Ordering::Acquire)
    }
}
