//! Workloads.

use std::collections::BTreeMap;
use std::sync::Arc;

use warren_core::Workload;
use warren_core::identity::DEFAULT_TRUST_DOMAIN;
use warren_core::policy::PolicyKey;
use warren_core::service::{PortMapping, ServiceKey};
use warren_core::workload::{Health, Locality, TunnelProtocol, Uid, WorkloadKind};

use super::DecodeError;
use super::fields::{Context, ip_bytes};
use crate::r#gen::workload as wire;

/// The service account of a pod that names none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

impl TryFrom<&wire::Workload> for Workload {
    type Error = DecodeError;

    fn try_from(w: &wire::Workload) -> Result<Self, DecodeError> {
        let cx = Context {
            kind: "workload",
            resource: &w.uid,
        };
        let addresses = w.addresses.iter().map(|a| cx.ip("addresses", a));
        let gateway = |field, g: &Option<wire::GatewayAddress>| {
            g.as_ref().map(|g| cx.gateway(field, g)).transpose()
        };
        let policies = w
            .authorization_policies
            .iter()
            .map(|p| decode_policy_key(cx, p));
        let probe_ports = w.probe_ports.iter().map(|&p| cx.port("probe_ports", p));
        Ok(Self {
            uid: Uid(cx.required("uid", &w.uid)?),
            name: w.name.as_str().into(),
            namespace: w.namespace.as_str().into(),
            addresses: addresses.collect::<Result<_, _>>()?,
            hostname: w.hostname.as_str().into(),
            network: w.network.as_str().into(),
            protocol: decode_protocol(cx, w.tunnel_protocol)?,
            trust_domain: or_default(&w.trust_domain, DEFAULT_TRUST_DOMAIN),
            service_account: or_default(&w.service_account, DEFAULT_SERVICE_ACCOUNT),
            node: w.node.as_str().into(),
            cluster: w.cluster_id.as_str().into(),
            canonical_name: w.canonical_name.as_str().into(),
            canonical_revision: w.canonical_revision.as_str().into(),
            workload_name: w.workload_name.as_str().into(),
            kind: decode_kind(w.workload_type),
            waypoint: gateway("waypoint", &w.waypoint)?,
            network_gateway: gateway("network_gateway", &w.network_gateway)?,
            native_tunnel: w.native_tunnel,
            policies: policies.collect::<Result<_, _>>()?,
            health: decode_health(cx, w.status)?,
            locality: w.locality.as_ref().map(decode_locality).unwrap_or_default(),
            host_network: decode_network_mode(cx, w.network_mode)?,
            capacity: w.capacity.unwrap_or(1),
            services: decode_services(cx, &w.services)?,
            direct_flows_off: w.direct_flows_off,
            probe_ports: probe_ports.collect::<Result<_, _>>()?,
            mesh_by_pod: w.mesh_by_pod,
        })
    }
}

impl From<&Workload> for wire::Workload {
    fn from(w: &Workload) -> Self {
        let locality = (w.locality != Locality::default()).then(|| encode_locality(&w.locality));
        let services = w.services.iter().map(|(key, ports)| {
            (
                key.to_string(),
                wire::PortList {
                    ports: ports.iter().map(Into::into).collect(),
                },
            )
        });
        Self {
            uid: w.uid.to_string(),
            name: w.name.to_string(),
            namespace: w.namespace.to_string(),
            addresses: w.addresses.iter().map(|&ip| ip_bytes(ip)).collect(),
            hostname: w.hostname.to_string(),
            network: w.network.to_string(),
            tunnel_protocol: encode_protocol(w.protocol).into(),
            // Readers take an empty trust domain for the default one; most workloads have it.
            trust_domain: if &*w.trust_domain == DEFAULT_TRUST_DOMAIN {
                String::new()
            } else {
                w.trust_domain.to_string()
            },
            service_account: w.service_account.to_string(),
            waypoint: w.waypoint.as_ref().map(Into::into),
            network_gateway: w.network_gateway.as_ref().map(Into::into),
            node: w.node.to_string(),
            canonical_name: w.canonical_name.to_string(),
            canonical_revision: w.canonical_revision.to_string(),
            workload_type: encode_kind(w.kind).into(),
            workload_name: w.workload_name.to_string(),
            native_tunnel: w.native_tunnel,
            application_tunnel: None,
            services: services.collect(),
            authorization_policies: w.policies.iter().map(ToString::to_string).collect(),
            status: encode_health(w.health).into(),
            cluster_id: w.cluster.to_string(),
            locality,
            network_mode: encode_network_mode(w.host_network).into(),
            extensions: Vec::new(),
            capacity: (w.capacity != 1).then_some(w.capacity),
            direct_flows_off: w.direct_flows_off,
            probe_ports: w.probe_ports.iter().map(|&p| p.into()).collect(),
            mesh_by_pod: w.mesh_by_pod,
        }
    }
}

fn or_default(value: &str, default: &str) -> Arc<str> {
    if value.is_empty() {
        default.into()
    } else {
        value.into()
    }
}

fn decode_policy_key(cx: Context<'_>, key: &str) -> Result<PolicyKey, DecodeError> {
    match key.split_once('/') {
        Some((namespace, name)) if !name.is_empty() => Ok(PolicyKey {
            namespace: namespace.into(),
            name: name.into(),
        }),
        _ => Err(cx.error(
            "authorization_policies",
            format!("`{key}` is not <namespace>/<name>"),
        )),
    }
}

type Services = BTreeMap<ServiceKey, Vec<PortMapping>>;

fn decode_services(
    cx: Context<'_>,
    services: &BTreeMap<String, wire::PortList>,
) -> Result<Services, DecodeError> {
    let one = |(key, list): (&String, &wire::PortList)| {
        let ports = list.ports.iter().map(|p| cx.port_mapping("services", p));
        Ok((
            cx.service_key("services", key)?,
            ports.collect::<Result<_, _>>()?,
        ))
    };
    services.iter().map(one).collect()
}

fn decode_protocol(cx: Context<'_>, value: i32) -> Result<TunnelProtocol, DecodeError> {
    match wire::TunnelProtocol::try_from(value) {
        Ok(wire::TunnelProtocol::Hbone) => Ok(TunnelProtocol::Hbone),
        // A workload with a sidecar's mTLS has no HBONE listener; its sidecar decides whether plain TCP is taken.
        Ok(wire::TunnelProtocol::None | wire::TunnelProtocol::LegacyIstioMtls) => {
            Ok(TunnelProtocol::None)
        }
        Err(_) => Err(cx.unknown("tunnel_protocol", value)),
    }
}

fn encode_protocol(protocol: TunnelProtocol) -> wire::TunnelProtocol {
    match protocol {
        TunnelProtocol::None => wire::TunnelProtocol::None,
        TunnelProtocol::Hbone => wire::TunnelProtocol::Hbone,
    }
}

/// Kinds only label metrics and logs, so a newer one is no reason to refuse the workload.
fn decode_kind(value: i32) -> WorkloadKind {
    match wire::WorkloadType::try_from(value) {
        Ok(wire::WorkloadType::Deployment) => WorkloadKind::Deployment,
        Ok(wire::WorkloadType::Cronjob) => WorkloadKind::CronJob,
        Ok(wire::WorkloadType::Pod) | Err(_) => WorkloadKind::Pod,
        Ok(wire::WorkloadType::Job) => WorkloadKind::Job,
    }
}

fn encode_kind(kind: WorkloadKind) -> wire::WorkloadType {
    match kind {
        WorkloadKind::Deployment => wire::WorkloadType::Deployment,
        WorkloadKind::CronJob => wire::WorkloadType::Cronjob,
        WorkloadKind::Pod => wire::WorkloadType::Pod,
        WorkloadKind::Job => wire::WorkloadType::Job,
    }
}

fn decode_health(cx: Context<'_>, value: i32) -> Result<Health, DecodeError> {
    match wire::WorkloadStatus::try_from(value) {
        Ok(wire::WorkloadStatus::Healthy) => Ok(Health::Healthy),
        Ok(wire::WorkloadStatus::Unhealthy) => Ok(Health::Unhealthy),
        Err(_) => Err(cx.unknown("status", value)),
    }
}

fn encode_health(health: Health) -> wire::WorkloadStatus {
    match health {
        Health::Healthy => wire::WorkloadStatus::Healthy,
        Health::Unhealthy => wire::WorkloadStatus::Unhealthy,
    }
}

fn decode_network_mode(cx: Context<'_>, value: i32) -> Result<bool, DecodeError> {
    match wire::NetworkMode::try_from(value) {
        Ok(wire::NetworkMode::Standard) => Ok(false),
        Ok(wire::NetworkMode::HostNetwork) => Ok(true),
        Err(_) => Err(cx.unknown("network_mode", value)),
    }
}

fn encode_network_mode(host_network: bool) -> wire::NetworkMode {
    if host_network {
        wire::NetworkMode::HostNetwork
    } else {
        wire::NetworkMode::Standard
    }
}

fn decode_locality(l: &wire::Locality) -> Locality {
    let [region, zone, subzone] = [&l.region, &l.zone, &l.subzone].map(|s| s.as_str().into());
    Locality {
        region,
        zone,
        subzone,
    }
}

fn encode_locality(l: &Locality) -> wire::Locality {
    let [region, zone, subzone] = [&l.region, &l.zone, &l.subzone].map(ToString::to_string);
    wire::Locality {
        region,
        zone,
        subzone,
    }
}
