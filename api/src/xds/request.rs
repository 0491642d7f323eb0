//! The requests of a session.

use std::collections::BTreeMap;

use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};

use super::inventory::Kind;
use super::{Config, NodeInfo};
use crate::codec::DecodeError;
use crate::r#gen::discovery::{DeltaDiscoveryRequest, Node, Status};

/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;
/// Bad resources that a NACK names.
const MAX_NAMED: usize = 10;

/// The first request of a type: who asks and what is known already.
pub(super) fn first(
    config: &Config,
    kind: Kind,
    versions: BTreeMap<String, String>,
    subscribe: Vec<String>,
    unsubscribe: Vec<String>,
) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(&config.node, &config.target.cluster_id)),
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: subscribe,
        resource_names_unsubscribe: unsubscribe,
        initial_resource_versions: versions,
        ..Default::default()
    }
}

/// Later changes of what is asked for.
pub(super) fn subscription(
    kind: Kind,
    subscribe: Vec<String>,
    unsubscribe: Vec<String>,
) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: subscribe,
        resource_names_unsubscribe: unsubscribe,
        ..Default::default()
    }
}

/// ACK, or NACK where resources were bad.
pub(super) fn acknowledge(
    kind: Kind,
    nonce: String,
    rejected: &[DecodeError],
) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        response_nonce: nonce,
        error_detail: (!rejected.is_empty()).then(|| error_detail(rejected)),
        ..Default::default()
    }
}

fn error_detail(rejected: &[DecodeError]) -> Status {
    let mut lines: Vec<String> = rejected
        .iter()
        .take(MAX_NAMED)
        .map(ToString::to_string)
        .collect();
    if rejected.len() > MAX_NAMED {
        lines.push(format!("and {} more", rejected.len() - MAX_NAMED));
    }
    Status {
        code: INVALID_ARGUMENT,
        message: lines.join("; "),
        details: Vec::new(),
    }
}

fn node(info: &NodeInfo, cluster: &str) -> Node {
    let NodeInfo {
        ip,
        pod,
        namespace,
        node,
        metadata,
    } = info;
    let mut fields: BTreeMap<String, Value> = metadata
        .iter()
        .map(|(k, v)| (k.clone(), string(v.clone())))
        .collect();
    let own = [
        ("NAME", pod.clone()),
        ("NAMESPACE", namespace.clone()),
        ("INSTANCE_IPS", ip.to_string()),
        ("NODE_NAME", node.clone()),
        ("CLUSTER_ID", cluster.to_owned()),
    ];
    fields.extend(own.map(|(k, v)| (k.to_owned(), string(v))));
    Node {
        id: format!("ztunnel~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: String::new(),
        metadata: Some(Struct { fields }),
    }
}

fn string(value: String) -> Value {
    Value {
        kind: Some(ValueKind::StringValue(value)),
    }
}
