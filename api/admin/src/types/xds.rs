//! The stream from the controller.

use serde::{Deserialize, Serialize};
use warren_api::xds;

use super::Timestamp;

/// A process's stream from the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdsStatus {
    /// Whether the stream is open.
    pub connected: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<Timestamp>,
    /// When the last response arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update: Option<Timestamp>,
    /// Why the stream last ended or could not be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Everything has arrived at least once.
    pub synced: bool,
    /// Known workloads.
    pub workloads: usize,
    /// Known services.
    pub services: usize,
    /// Known policies.
    pub policies: usize,
    /// Streams opened so far.
    pub connects: u64,
    /// Responses that held at least one bad resource.
    pub nacks: u64,
    /// Resources whose newest version was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<RejectedResource>,
}

/// A resource that was refused; its earlier version, if any, stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedResource {
    /// Its name on the wire.
    pub resource: String,
    /// Why.
    pub error: String,
    /// What takes no new connections because of it: a policy without an earlier version may be a DENY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes: Option<String>,
}

impl From<&xds::Status> for XdsStatus {
    fn from(s: &xds::Status) -> Self {
        let rejected = s.rejected.iter().map(|(resource, error)| RejectedResource {
            resource: resource.clone(),
            error: error.to_string(),
            closes: s.closes(resource),
        });
        Self {
            connected: s.connected_since.is_some(),
            connected_since: s.connected_since.map(Into::into),
            last_update: s.last_update.map(Into::into),
            last_error: s.last_error.clone(),
            synced: s.policies_synced && s.addresses_synced,
            workloads: s.workloads,
            services: s.services,
            policies: s.policies,
            connects: s.connects,
            nacks: s.nacks,
            rejected: rejected.collect(),
        }
    }
}
