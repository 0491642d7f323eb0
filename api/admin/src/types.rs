//! The answers of the admin endpoints, by path: `/status` [`ComponentStatus`], `/workloads` a list of [`WorkloadView`],
//! `/services` of [`ServiceView`], `/policies` of [`PolicyView`], `/certs` of [`CertView`], `/connections` of
//! [`ConnectionView`], `/maps` of [`MapView`], `/warnings` of [`Warning`], `/config` a [`ConfigView`], `/log-level` a
//! [`LogLevel`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

mod model;
mod timestamp;
mod xds;

pub use model::{ClauseView, PolicyView, RuleView, ServiceView, WorkloadView};
pub use timestamp::Timestamp;
pub use xds::{RejectedResource, XdsStatus};

/// `/status`: one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// `control`, `agent`, `ztunnel` or `waypoint`.
    pub component: String,
    /// Its version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When the process started.
    pub started: Timestamp,
    /// Its node, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether it does its work.
    pub ready: bool,
    /// What it waits for, while it is not ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
    /// Its stream from the controller, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xds: Option<XdsStatus>,
    /// Pods of this node, where it serves some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// Connected tunnels, agents and waypoints (controller only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientView>,
    /// Objects that could not be honoured (controller only); `/warnings` lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnings: Option<usize>,
    /// Anything else worth a line, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl ComponentStatus {
    /// The status of this process, started now, ready, with the rest left out.
    pub fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            started: Timestamp::now(),
            node: None,
            ready: true,
            waiting_for: Vec::new(),
            xds: None,
            pods: None,
            clients: Vec::new(),
            warnings: None,
            details: BTreeMap::new(),
        }
    }
}

/// Pods of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCounts {
    /// In the mesh and served.
    pub enrolled: usize,
    /// In the mesh, not served yet.
    pub pending: usize,
    /// In the mesh, and could not be served.
    pub failed: usize,
}

/// A process that takes its configuration from the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Its node id.
    pub id: String,
    /// Its node's name.
    pub node: String,
    /// Its address.
    pub address: SocketAddr,
    /// Since when.
    pub connected_since: Timestamp,
    /// Why it refused its last update, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_nack: Option<String>,
}

/// `/certs`: one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertView {
    /// SPIFFE ID.
    pub identity: String,
    /// `valid`, `pending`, `expired`, `failed` or `root`.
    pub state: String,
    /// Serial number, hexadecimal; empty while there is no certificate.
    #[serde(default)]
    pub serial: String,
    /// Start of validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// End of validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When it will be, or is being, renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `/connections`: one live connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionView {
    /// `outbound` or `inbound`, as seen from the pod.
    pub direction: String,
    /// How it travels: `hbone`, `direct`, `fast`, `plaintext` or `passthrough`.
    pub path: String,
    /// Source address.
    pub source: SocketAddr,
    /// Destination that the application asked for.
    pub destination: SocketAddr,
    /// Where it went after services and waypoints were resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<SocketAddr>,
    /// Verified identity of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<String>,
    /// Identity of the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_identity: Option<String>,
    /// Service asked for, `<namespace>/<hostname>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// When it was accepted.
    pub since: Timestamp,
    /// Bytes from source to destination.
    pub bytes_sent: u64,
    /// Bytes from destination to source.
    pub bytes_received: u64,
}

/// `/maps`: one BPF map of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapView {
    /// Its name.
    pub name: String,
    /// Its kind, such as `hash` or `lru_hash`.
    pub kind: String,
    /// Entries in it; None where its kind cannot be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Room for entries.
    pub max_entries: u64,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Where it is pinned.
    pub pin: String,
}

/// `/warnings`: one object that could not be honoured, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Warning {
    /// Kind, such as `Service`; empty where the file is not even YAML.
    pub kind: String,
    /// Namespace; empty for objects without one.
    #[serde(default)]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// File that it comes from; None for a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Why, and what to do about it.
    pub reason: String,
}

/// `/config`: the settings in force, and the addresses that are served, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigView(pub BTreeMap<String, serde_json::Value>);

/// `/log-level`, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,warren_api::xds=debug`.
    pub filter: String,
}
