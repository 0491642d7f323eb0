//! The delta ADS client that agent and tunnel use. It keeps what it knows while the controller is away, and hands on
//! only resources that were decoded and checked.
//!
//! ```text
//! controller ==stream==> session --Inventory: decode, diff--> Update --bounded channel--> owner of the Mesh
//!                           ^ demand(name)                                                  | drop(update)
//!                           +------------- waiters wake when the update was applied <-------+
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use warren_core::policy::{Policy, PolicyKey, PolicyScope};
use warren_core::service::ServiceKey;
use warren_core::workload::Uid;
use warren_core::{Service, Workload};

use crate::channel::Target;
use crate::codec::DecodeError;

mod backoff;
mod client;
mod demand;
mod intern;
mod inventory;
mod request;
mod session;

pub use client::Client;
pub use demand::DemandError;

/// Largest response that is accepted, in bytes.
pub const MAX_RESPONSE: usize = 200 << 20;

/// Who asks; the controller answers for this node.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The address of this process's pod.
    pub ip: IpAddr,
    /// Its pod's name.
    pub pod: String,
    /// Its pod's namespace.
    pub namespace: String,
    /// Its node's name, `NODE_NAME` in the metadata.
    pub node: String,
    /// Further metadata.
    pub metadata: BTreeMap<String, String>,
}

/// Which workloads and services are asked for; policies are always all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All.
    Wildcard,
    /// Those that [`Client::demand`] names.
    OnDemand,
}

/// What a client is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The controller.
    pub target: Target,
    /// Who asks.
    pub node: NodeInfo,
    /// What is asked for.
    pub mode: Mode,
    /// Updates that may wait for their reader before the stream is paused; at least 1.
    pub queue: usize,
    /// How long [`Client::demand`] waits.
    pub demand_limit: Duration,
}

impl Config {
    /// The usual settings: everything, 16 waiting updates, 5 s for a demand.
    pub fn new(target: Target, node: NodeInfo) -> Self {
        Self {
            target,
            node,
            mode: Mode::Wildcard,
            queue: 16,
            demand_limit: Duration::from_secs(5),
        }
    }
}

/// Changes to apply, in this order: policies, readable and not, workloads and services, then removals.
#[derive(Debug, Default)]
pub struct Update {
    /// New or changed policies.
    pub policies: Vec<Arc<Policy>>,
    /// New or changed workloads.
    pub workloads: Vec<Arc<Workload>>,
    /// New or changed services.
    pub services: Vec<Arc<Service>>,
    /// Policies that are gone.
    pub removed_policies: Vec<PolicyKey>,
    /// Workloads that are gone.
    pub removed_workloads: Vec<Uid>,
    /// Services that are gone.
    pub removed_services: Vec<ServiceKey>,
    /// Resources that were refused; an earlier version of them, if any, stays.
    pub rejected: Vec<DecodeError>,
    /// Refused policies without an earlier version: what they may cover is to be closed to new connections.
    pub unreadable: Vec<(PolicyKey, PolicyScope)>,
    /// Those that are gone, or that can be read after all.
    pub readable: Vec<PolicyKey>,
    /// With this update, all policies have arrived at least once.
    pub policies_synced: bool,
    /// With this update, all workloads and services (on demand: the first answer) have arrived at least once.
    pub addresses_synced: bool,
    /// Callers of [`Client::demand`]; they wake when the update is dropped, so apply it first.
    pub waiters: Waiters,
}

/// Wakes its callers when it is dropped.
#[derive(Debug, Default)]
pub struct Waiters(Vec<oneshot::Sender<()>>);

impl Drop for Waiters {
    fn drop(&mut self) {
        for waiter in self.0.drain(..) {
            // A caller that stopped waiting has dropped its end.
            let _ = waiter.send(());
        }
    }
}

impl Status {
    /// What the refusal of `resource` closes to new connections, for people.
    pub fn closes(&self, resource: &str) -> Option<String> {
        self.closed.get(resource).map(inventory::describe_closed)
    }
}

/// What `/status` and metrics show about a client.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Since when the stream is open; None while it is not.
    pub connected_since: Option<SystemTime>,
    /// When the last response arrived.
    pub last_update: Option<SystemTime>,
    /// Why the stream last ended or could not be opened.
    pub last_error: Option<String>,
    /// Streams opened so far.
    pub connects: u64,
    /// Responses that held at least one bad resource.
    pub nacks: u64,
    /// Resources whose newest version was refused, by resource name.
    pub rejected: BTreeMap<String, DecodeError>,
    /// What is closed to new connections because of them, by resource name.
    pub closed: BTreeMap<String, (PolicyKey, PolicyScope)>,
    /// Known workloads.
    pub workloads: usize,
    /// Known services.
    pub services: usize,
    /// Known policies.
    pub policies: usize,
    /// All policies have arrived at least once.
    pub policies_synced: bool,
    /// All workloads and services have arrived at least once.
    pub addresses_synced: bool,
}
