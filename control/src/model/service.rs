//! Services.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use warren_core::address::canonical;
use warren_core::service::Scope;

use super::{Labels, Meta};

/// Kubernetes' default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u64 = 10_800;

/// What the index needs of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Metadata.
    pub meta: Meta,
    /// Chooses its pods; empty: EndpointSlices name the endpoints.
    pub selector: Labels,
    /// Virtual addresses; none for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// Only a name for something outside (type ExternalName).
    pub external_name: bool,
    /// TCP ports.
    pub ports: Vec<ServicePort>,
    /// publishNotReadyAddresses.
    pub publish_not_ready: bool,
    /// internalTrafficPolicy: Local.
    pub node_local: bool,
    /// trafficDistribution, as scopes from the most important on; empty: none.
    pub distribution: Vec<Scope>,
    /// sessionAffinity: ClientIP.
    pub affinity: Option<Duration>,
}

/// One TCP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty for the only port.
    pub name: String,
    /// What clients ask for.
    pub port: u16,
    /// What pods listen on.
    pub target: TargetPort,
}

/// A port of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By name; each pod says what it means.
    Name(String),
}

impl Service {
    /// Cuts a Service down; the second value names what could not be understood.
    pub fn from_kubernetes(meta: Meta, service: &core::Service) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let spec = service.spec.clone().unwrap_or_default();
        let affinity = match spec.session_affinity.as_deref() {
            None | Some("None" | "") => None,
            Some("ClientIP") => {
                let config = spec
                    .session_affinity_config
                    .as_ref()
                    .and_then(|c| c.client_ip.as_ref());
                let seconds = config
                    .and_then(|c| c.timeout_seconds)
                    .and_then(|s| u64::try_from(s).ok());
                Some(Duration::from_secs(seconds.unwrap_or(AFFINITY_SECONDS)))
            }
            Some(other) => {
                problems.push(format!(
                    "spec.sessionAffinity: `{other}` is neither None nor ClientIP"
                ));
                None
            }
        };
        let external_name = spec.type_.as_deref() == Some("ExternalName");
        if spec.ports.as_ref().is_none_or(Vec::is_empty) && !external_name {
            problems.push(
                "spec.ports: it has no ports, so its pods are reached by their own addresses only"
                    .to_owned(),
            );
        }
        let service = Self {
            meta,
            cluster_ips: cluster_ips(&spec, &mut problems),
            external_name,
            ports: spec
                .ports
                .iter()
                .flatten()
                .filter_map(|p| port(p, &mut problems))
                .collect(),
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
            node_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            distribution: distribution(spec.traffic_distribution.as_deref(), &mut problems),
            affinity,
            selector: spec.selector.unwrap_or_default(),
        };
        (service, problems)
    }
}

fn cluster_ips(spec: &core::ServiceSpec, problems: &mut Vec<String>) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    let all = spec
        .cluster_ip
        .iter()
        .chain(spec.cluster_ips.iter().flatten());
    for text in all.filter(|t| !t.is_empty() && *t != "None") {
        match text.parse::<IpAddr>().map(canonical) {
            Ok(ip) if ips.contains(&ip) => {}
            Ok(ip) => ips.push(ip),
            Err(_) => problems.push(format!("spec.clusterIPs: `{text}` is not an IP address")),
        }
    }
    ips
}

fn port(port: &core::ServicePort, problems: &mut Vec<String>) -> Option<ServicePort> {
    if port.protocol.as_deref().unwrap_or("TCP") != "TCP" {
        return None;
    }
    let name = port.name.clone().unwrap_or_default();
    let number = |n: i32| u16::try_from(n).ok().filter(|n| *n != 0);
    let Some(own) = number(port.port) else {
        problems.push(format!("spec.ports: {} is not a port", port.port));
        return None;
    };
    let target = match &port.target_port {
        None => TargetPort::Number(own),
        Some(IntOrString::Int(0)) => TargetPort::Number(own),
        Some(IntOrString::Int(n)) => match number(*n) {
            Some(n) => TargetPort::Number(n),
            None => {
                problems.push(format!("spec.ports: targetPort {n} is not a port"));
                return None;
            }
        },
        Some(IntOrString::String(text)) => match text.parse() {
            Ok(n) => TargetPort::Number(n),
            Err(_) => TargetPort::Name(text.clone()),
        },
    };
    Some(ServicePort {
        name,
        port: own,
        target,
    })
}

fn distribution(value: Option<&str>, problems: &mut Vec<String>) -> Vec<Scope> {
    match value {
        None | Some("") => Vec::new(),
        Some("PreferClose" | "PreferSameZone") => vec![Scope::Network, Scope::Region, Scope::Zone],
        Some("PreferSameNode") => {
            vec![
                Scope::Network,
                Scope::Region,
                Scope::Zone,
                Scope::Subzone,
                Scope::Node,
            ]
        }
        Some(other) => {
            problems.push(format!(
                "spec.trafficDistribution: `{other}` is none of PreferClose, PreferSameZone and PreferSameNode"
            ));
            Vec::new()
        }
    }
}
