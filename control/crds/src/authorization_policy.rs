//! `AuthorizationPolicy`: who may connect to which workload.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Status, TargetReference, WorkloadSelector};

/// Allows, denies or reports connections to workloads. Without `selector` and `targetRefs` it covers its namespace, or the whole mesh where it is in the root namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "warren.dev",
    version = "v1alpha1",
    kind = "AuthorizationPolicy",
    plural = "authorizationpolicies",
    shortname = "wap",
    category = "warren",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Action","type":"string","jsonPath":".spec.action"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// The workloads that the policy covers. Not together with `targetRefs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// The Services that the policy covers: their pods, on the Services' target ports. Not together with `selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_refs: Option<Vec<TargetReference>>,
    /// A connection matches where any one rule matches. No rules: nothing matches, so an ALLOW policy allows nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
    /// What a match means.
    #[serde(default)]
    pub action: Action,
}

/// What a match means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Permit; where an ALLOW policy covers a workload, everything that no ALLOW policy matches is refused.
    #[default]
    Allow,
    /// Refuse, whatever ALLOW policies say.
    Deny,
    /// Report only; never changes the outcome.
    Audit,
}

/// Matches where `from`, `to` and `when` all match; one left out matches everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Any one of these sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<From>>,
    /// Any one of these operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<To>>,
    /// All of these conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Vec<Condition>>,
}

/// One source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct From {
    /// The source.
    pub source: Source,
}

/// Who connects. All fields given have to match; within a field one value is enough, within a negated one none may match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// Identities as `<trust domain>/ns/<namespace>/sa/<service account>`; `*`, `prefix*` and `*suffix` are understood.
    pub principals: Vec<String>,
    /// Negated.
    pub not_principals: Vec<String>,
    /// Identities of JWTs; HTTP only.
    pub request_principals: Vec<String>,
    /// Negated; HTTP only.
    pub not_request_principals: Vec<String>,
    /// Namespaces of the identity; `*`, `prefix*` and `*suffix` are understood.
    pub namespaces: Vec<String>,
    /// Negated.
    pub not_namespaces: Vec<String>,
    /// Service accounts as `<namespace>/<name>`, or `<name>` in the policy's own namespace.
    pub service_accounts: Vec<String>,
    /// Negated.
    pub not_service_accounts: Vec<String>,
    /// Source addresses, single or CIDR.
    pub ip_blocks: Vec<String>,
    /// Negated.
    pub not_ip_blocks: Vec<String>,
    /// Addresses that HTTP headers tell; HTTP only.
    pub remote_ip_blocks: Vec<String>,
    /// Negated; HTTP only.
    pub not_remote_ip_blocks: Vec<String>,
}

/// One operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct To {
    /// The operation.
    pub operation: Operation,
}

/// What is asked for. All fields given have to match; within a field one value is enough, within a negated one none may match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Host names; HTTP only.
    pub hosts: Vec<String>,
    /// Negated; HTTP only.
    pub not_hosts: Vec<String>,
    /// Ports of the workload (not of the Service).
    pub ports: Vec<IntOrString>,
    /// Negated.
    pub not_ports: Vec<IntOrString>,
    /// Methods; HTTP only.
    pub methods: Vec<String>,
    /// Negated; HTTP only.
    pub not_methods: Vec<String>,
    /// Paths; HTTP only.
    pub paths: Vec<String>,
    /// Negated; HTTP only.
    pub not_paths: Vec<String>,
}

/// A further condition. `source.ip`, `source.namespace`, `source.principal`, `source.serviceAccount`, `destination.ip` and `destination.port` are understood at L4.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The attribute.
    pub key: String,
    /// One of these has to match.
    #[serde(default)]
    pub values: Vec<String>,
    /// None of these may match.
    #[serde(default)]
    pub not_values: Vec<String>,
}
