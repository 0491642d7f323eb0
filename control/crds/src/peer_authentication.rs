//! `PeerAuthentication`: whether a workload takes plaintext.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Status, WorkloadSelector};

/// Whether workloads take plaintext connections. Without `selector` it covers its namespace, or the whole mesh where it is in the root namespace; the narrowest one wins.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "warren.dev",
    version = "v1alpha1",
    kind = "PeerAuthentication",
    plural = "peerauthentications",
    shortname = "wpa",
    category = "warren",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mtls.mode"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    /// The workloads that it covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// The mode of all ports; left out, it is inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MutualTls>,
    /// Modes of single ports of the workload, by port number. Only together with `selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// A mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MutualTls {
    /// The mode.
    #[serde(default)]
    pub mode: Mode,
}

/// Whether plaintext is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Inherited from the wider scope; PERMISSIVE where there is none.
    #[default]
    Unset,
    /// Istio's third mode. Warren always offers mutual TLS, so this is PERMISSIVE.
    Disable,
    /// Plaintext and mutual TLS.
    Permissive,
    /// Only mutual TLS.
    Strict,
}
