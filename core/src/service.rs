//! A service: a name, virtual addresses and ports in front of workloads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::address::NetworkAddress;
use crate::workload::GatewayAddress;

/// The unique name of a service: `<namespace>/<hostname>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Fully qualified name, such as `web.shop.svc.cluster.local`.
    pub hostname: Arc<str>,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

/// One port of a service as one workload serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMapping {
    /// The port that clients ask for.
    pub service_port: u16,
    /// The port that the workload listens on; 0 where a name could not be resolved.
    pub target_port: u16,
}

/// How near an endpoint has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Same region.
    Region,
    /// Same zone.
    Zone,
    /// Same part of a zone.
    Subzone,
    /// Same node.
    Node,
    /// Same cluster.
    Cluster,
    /// Same network.
    Network,
}

/// What [`Scope`]s mean for the choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BalanceMode {
    /// Any endpoint.
    #[default]
    Any,
    /// Only endpoints that match every scope (internalTrafficPolicy: Local).
    Strict,
    /// Endpoints that match most scopes, in order; then the rest (trafficDistribution).
    Failover,
    /// Go to the address asked for, without a choice.
    Passthrough,
}

/// Load balancing of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancing {
    /// Scopes, most important first.
    pub preference: Vec<Scope>,
    /// What they mean.
    pub mode: BalanceMode,
    /// Also give traffic to endpoints that are not ready (publishNotReadyAddresses).
    pub allow_unhealthy: bool,
    /// sessionAffinity: ClientIP with its time-out (Warren's own field).
    pub client_ip_affinity: Option<Duration>,
}

/// A service as every part of Warren sees it. Its endpoints are the workloads that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Kubernetes name.
    pub name: Arc<str>,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Fully qualified name.
    pub hostname: Arc<str>,
    /// Virtual addresses; none for a headless service.
    pub addresses: Vec<NetworkAddress>,
    /// Ports; a workload's own mapping goes before these.
    pub ports: Vec<PortMapping>,
    /// SANs to verify instead of the workload's identity.
    pub subject_alt_names: Vec<Arc<str>>,
    /// The waypoint that all traffic to it takes.
    pub waypoint: Option<GatewayAddress>,
    /// How an endpoint is chosen.
    pub load_balancing: LoadBalancing,
}

impl ServiceKey {
    /// Builds a key from its two parts.
    pub fn new(namespace: &str, hostname: &str) -> Self {
        Self {
            namespace: namespace.into(),
            hostname: hostname.into(),
        }
    }
}

impl Service {
    /// A service without addresses and ports, balanced over all its healthy endpoints.
    pub fn new(namespace: &str, name: &str, hostname: &str) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            hostname: hostname.into(),
            addresses: Vec::new(),
            ports: Vec::new(),
            subject_alt_names: Vec::new(),
            waypoint: None,
            load_balancing: LoadBalancing::default(),
        }
    }

    /// Its unique name.
    pub fn key(&self) -> ServiceKey {
        ServiceKey {
            namespace: self.namespace.clone(),
            hostname: self.hostname.clone(),
        }
    }
}
