//! Services.

use std::time::Duration;

use warren_core::Service;
use warren_core::service::{BalanceMode, LoadBalancing, Scope};

use super::DecodeError;
use super::fields::Context;
use crate::r#gen::workload as wire;
use wire::load_balancing::{HealthPolicy, Mode, Scope as WireScope};

impl TryFrom<&wire::Service> for Service {
    type Error = DecodeError;

    fn try_from(s: &wire::Service) -> Result<Self, DecodeError> {
        let name = format!("{}/{}", s.namespace, s.hostname);
        let cx = Context {
            kind: "service",
            resource: &name,
        };
        let addresses = s
            .addresses
            .iter()
            .map(|a| cx.network_address("addresses", a));
        let ports = s.ports.iter().map(|p| cx.port_mapping("ports", p));
        let mut load_balancing = match &s.load_balancing {
            Some(lb) => decode_balancing(cx, lb)?,
            None => LoadBalancing::default(),
        };
        let affinity = u64::from(s.client_ip_affinity_seconds);
        load_balancing.client_ip_affinity = (affinity != 0).then(|| Duration::from_secs(affinity));
        Ok(Self {
            name: s.name.as_str().into(),
            namespace: cx.required("namespace", &s.namespace)?,
            hostname: cx.required("hostname", &s.hostname)?,
            addresses: addresses.collect::<Result<_, _>>()?,
            ports: ports.collect::<Result<_, _>>()?,
            subject_alt_names: s
                .subject_alt_names
                .iter()
                .map(|n| n.as_str().into())
                .collect(),
            waypoint: s
                .waypoint
                .as_ref()
                .map(|g| cx.gateway("waypoint", g))
                .transpose()?,
            load_balancing,
        })
    }
}

impl From<&Service> for wire::Service {
    fn from(s: &Service) -> Self {
        let lb = &s.load_balancing;
        let seconds = lb.client_ip_affinity.map_or(0, |d| d.as_secs().max(1));
        let plain = LoadBalancing {
            client_ip_affinity: lb.client_ip_affinity,
            ..LoadBalancing::default()
        };
        Self {
            name: s.name.to_string(),
            namespace: s.namespace.to_string(),
            hostname: s.hostname.to_string(),
            addresses: s.addresses.iter().map(Into::into).collect(),
            ports: s.ports.iter().map(Into::into).collect(),
            subject_alt_names: s
                .subject_alt_names
                .iter()
                .map(ToString::to_string)
                .collect(),
            waypoint: s.waypoint.as_ref().map(Into::into),
            load_balancing: (*lb != plain).then(|| encode_balancing(lb)),
            ip_families: wire::IpFamilies::Automatic.into(),
            extensions: Vec::new(),
            client_ip_affinity_seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
        }
    }
}

fn decode_balancing(
    cx: Context<'_>,
    lb: &wire::LoadBalancing,
) -> Result<LoadBalancing, DecodeError> {
    let preference = lb.routing_preference.iter().map(|&v| {
        Ok(match WireScope::try_from(v) {
            Ok(WireScope::Region) => Scope::Region,
            Ok(WireScope::Zone) => Scope::Zone,
            Ok(WireScope::Subzone) => Scope::Subzone,
            Ok(WireScope::Node) => Scope::Node,
            Ok(WireScope::Cluster) => Scope::Cluster,
            Ok(WireScope::Network) => Scope::Network,
            Ok(WireScope::UnspecifiedScope) | Err(_) => {
                return Err(cx.unknown("load_balancing.routing_preference", v));
            }
        })
    });
    let mode = match Mode::try_from(lb.mode) {
        Ok(Mode::UnspecifiedMode) => BalanceMode::Any,
        Ok(Mode::Strict) => BalanceMode::Strict,
        Ok(Mode::Failover) => BalanceMode::Failover,
        Ok(Mode::Passthrough) => BalanceMode::Passthrough,
        Err(_) => return Err(cx.unknown("load_balancing.mode", lb.mode)),
    };
    Ok(LoadBalancing {
        preference: preference.collect::<Result<_, _>>()?,
        mode,
        allow_unhealthy: lb.health_policy == i32::from(HealthPolicy::AllowAll),
        client_ip_affinity: None,
    })
}

fn encode_balancing(lb: &LoadBalancing) -> wire::LoadBalancing {
    let scope = |s: &Scope| match s {
        Scope::Region => WireScope::Region,
        Scope::Zone => WireScope::Zone,
        Scope::Subzone => WireScope::Subzone,
        Scope::Node => WireScope::Node,
        Scope::Cluster => WireScope::Cluster,
        Scope::Network => WireScope::Network,
    };
    let mode = match lb.mode {
        BalanceMode::Any => Mode::UnspecifiedMode,
        BalanceMode::Strict => Mode::Strict,
        BalanceMode::Failover => Mode::Failover,
        BalanceMode::Passthrough => Mode::Passthrough,
    };
    let health = if lb.allow_unhealthy {
        HealthPolicy::AllowAll
    } else {
        HealthPolicy::OnlyHealthy
    };
    wire::LoadBalancing {
        routing_preference: lb.preference.iter().map(|s| scope(s).into()).collect(),
        mode: mode.into(),
        health_policy: health.into(),
    }
}
