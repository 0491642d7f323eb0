//! A workload: one pod or VM that can be the source or destination of a connection.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::NetworkAddress;
use crate::identity::{DEFAULT_TRUST_DOMAIN, Identity};
use crate::policy::PolicyKey;
use crate::service::{PortMapping, ServiceKey};

/// The mesh-wide unique name of a workload: `<cluster>//Pod/<namespace>/<name>` for a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub Arc<str>);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Uid {
    fn from(s: &str) -> Self {
        Self(s.into())
    }
}

/// How peers reach a workload. `Hbone` means enrolled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TunnelProtocol {
    /// Plain TCP: not in the mesh.
    #[default]
    None,
    /// HTTP/2 CONNECT over mTLS on port 15008.
    Hbone,
}

/// Whether a workload may be given traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Ready.
    #[default]
    Healthy,
    /// Not ready.
    Unhealthy,
}

/// Where a workload runs; empty parts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Region (`topology.kubernetes.io/region`).
    pub region: Arc<str>,
    /// Zone (`topology.kubernetes.io/zone`).
    pub zone: Arc<str>,
    /// Part of a zone.
    pub subzone: Arc<str>,
}

/// What kind of object made a workload; used in metrics and logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// A Deployment.
    #[default]
    Deployment,
    /// A CronJob.
    CronJob,
    /// A bare pod.
    Pod,
    /// A Job.
    Job,
}

/// How to reach a gateway or waypoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayAddress {
    /// A service, or an address on a network.
    pub destination: GatewayDestination,
    /// Its HBONE port.
    pub hbone_port: u16,
}

/// The two ways a gateway is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GatewayDestination {
    /// By service.
    Service(ServiceKey),
    /// By address.
    Address(NetworkAddress),
}

/// One workload as every part of Warren sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Unique name.
    pub uid: Uid,
    /// Pod name.
    pub name: Arc<str>,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Canonical addresses, at most one a family for a pod.
    pub addresses: Vec<IpAddr>,
    /// DNS name for workloads that have no address.
    pub hostname: Arc<str>,
    /// Network of the addresses; empty is the default one.
    pub network: Arc<str>,
    /// How peers reach it.
    pub protocol: TunnelProtocol,
    /// Trust domain; never empty.
    pub trust_domain: Arc<str>,
    /// Service account; never empty.
    pub service_account: Arc<str>,
    /// Node that it runs on.
    pub node: Arc<str>,
    /// Cluster that it runs in.
    pub cluster: Arc<str>,
    /// `app.kubernetes.io/name`, else `app`, else the owner's name.
    pub canonical_name: Arc<str>,
    /// `app.kubernetes.io/version`, else `version`, else `latest`.
    pub canonical_revision: Arc<str>,
    /// The owner's name.
    pub workload_name: Arc<str>,
    /// The owner's kind.
    pub kind: WorkloadKind,
    /// Waypoint for traffic to this workload's own address.
    pub waypoint: Option<GatewayAddress>,
    /// Gateway of a remote network.
    pub network_gateway: Option<GatewayAddress>,
    /// The workload terminates HBONE itself.
    pub native_tunnel: bool,
    /// Selector-scoped policies that apply; namespace and mesh scopes are found by scope.
    pub policies: Vec<PolicyKey>,
    /// Readiness.
    pub health: Health,
    /// Region, zone.
    pub locality: Locality,
    /// Shares its node's network namespace; never captured.
    pub host_network: bool,
    /// Load-balancing weight, 1 unless told.
    pub capacity: u32,
    /// The services that it backs, with its target ports.
    pub services: BTreeMap<ServiceKey, Vec<PortMapping>>,
    /// Same-node connections from and to it must take the tunnel (Warren's own field).
    pub direct_flows_off: bool,
    /// Ports that its probes declare (Warren's own field).
    pub probe_ports: Vec<u16>,
    /// A label of its own, not its namespace, says whether it is in the mesh (Warren's own field).
    pub mesh_by_pod: bool,
}

impl Workload {
    /// A healthy workload that is not enrolled, runs under the service account `default` and has no address yet.
    pub fn new(uid: impl Into<Uid>, namespace: &str, name: &str) -> Self {
        Self {
            uid: uid.into(),
            name: name.into(),
            namespace: namespace.into(),
            addresses: Vec::new(),
            hostname: "".into(),
            network: "".into(),
            protocol: TunnelProtocol::None,
            trust_domain: DEFAULT_TRUST_DOMAIN.into(),
            service_account: "default".into(),
            node: "".into(),
            cluster: "".into(),
            canonical_name: name.into(),
            canonical_revision: "latest".into(),
            workload_name: name.into(),
            kind: WorkloadKind::Pod,
            waypoint: None,
            network_gateway: None,
            native_tunnel: false,
            policies: Vec::new(),
            health: Health::Healthy,
            locality: Locality::default(),
            host_network: false,
            capacity: 1,
            services: BTreeMap::new(),
            direct_flows_off: false,
            probe_ports: Vec::new(),
            mesh_by_pod: false,
        }
    }

    /// The identity that its certificate carries.
    pub fn identity(&self) -> Identity {
        Identity {
            trust_domain: self.trust_domain.clone(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
        }
    }

    /// Whether it is in the mesh.
    pub fn is_enrolled(&self) -> bool {
        self.protocol == TunnelProtocol::Hbone
    }
}
