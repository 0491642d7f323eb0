//! Workloads, services and policies as people read them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use warren_core::policy::{Action, Audit, Match, Policy, PolicyScope, StringMatch};
use warren_core::service::{BalanceMode, PortMapping};
use warren_core::workload::{
    GatewayAddress, GatewayDestination, Health, TunnelProtocol, WorkloadKind,
};
use warren_core::{Service, Workload};

/// `/workloads`: one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadView {
    /// Unique name.
    pub uid: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its node.
    pub node: String,
    /// `hbone` for an enrolled workload, else `none`.
    pub protocol: String,
    /// SPIFFE ID.
    pub identity: String,
    /// `healthy` or `unhealthy`.
    pub health: String,
    /// Owner, as `kind/name`.
    pub owner: String,
    /// Waypoint for traffic to its own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<String>,
    /// Network; left out for the default one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Cluster.
    pub cluster: String,
    /// Region and zone, `region/zone/subzone`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// Services that it backs, with `service port:target port`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Vec<String>>,
    /// Selector-scoped policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Shares its node's network namespace.
    #[serde(default)]
    pub host_network: bool,
    /// Same-node connections to it take the tunnel.
    #[serde(default)]
    pub direct_flows_off: bool,
    /// Ports that its probes declare.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probe_ports: Vec<u16>,
}

/// `/services`: one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes name.
    pub name: String,
    /// Fully qualified name.
    pub hostname: String,
    /// Virtual addresses, `network/ip`.
    pub addresses: Vec<String>,
    /// `service port:target port`.
    pub ports: Vec<String>,
    /// Waypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<String>,
    /// How an endpoint is chosen: `any`, `strict`, `failover` or `passthrough`, with its scopes.
    pub load_balancing: String,
    /// Workloads behind it, where the process knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<usize>,
}

/// Clauses, all of which have to hold.
pub type RuleView = Vec<ClauseView>;
/// Matches, one of which has to hold: field to values.
pub type ClauseView = Vec<BTreeMap<String, Vec<String>>>;

/// `/policies`: one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `mesh`, `namespace` or `selector`.
    pub scope: String,
    /// `ALLOW`, `DENY`, or `AUDIT`.
    pub action: String,
    /// Reported only, not enforced.
    #[serde(default)]
    pub dry_run: bool,
    /// One of them has to hold.
    pub rules: Vec<RuleView>,
}

impl From<&Workload> for WorkloadView {
    fn from(w: &Workload) -> Self {
        let l = &w.locality;
        let locality = [&*l.region, &*l.zone, &*l.subzone].join("/");
        Self {
            uid: w.uid.to_string(),
            namespace: w.namespace.to_string(),
            name: w.name.to_string(),
            addresses: w.addresses.clone(),
            node: w.node.to_string(),
            protocol: match w.protocol {
                TunnelProtocol::None => "none".into(),
                TunnelProtocol::Hbone => "hbone".into(),
            },
            identity: w.identity().to_string(),
            health: match w.health {
                Health::Healthy => "healthy".into(),
                Health::Unhealthy => "unhealthy".into(),
            },
            owner: format!("{}/{}", owner_kind(w.kind), w.workload_name),
            waypoint: w.waypoint.as_ref().map(gateway),
            network: w.network.to_string(),
            cluster: w.cluster.to_string(),
            locality: locality.trim_end_matches('/').to_owned(),
            services: w
                .services
                .iter()
                .map(|(k, p)| (k.to_string(), ports(p)))
                .collect(),
            policies: w.policies.iter().map(ToString::to_string).collect(),
            host_network: w.host_network,
            direct_flows_off: w.direct_flows_off,
            probe_ports: w.probe_ports.clone(),
        }
    }
}

impl From<&Service> for ServiceView {
    fn from(s: &Service) -> Self {
        let mode = match s.load_balancing.mode {
            BalanceMode::Any => "any",
            BalanceMode::Strict => "strict",
            BalanceMode::Failover => "failover",
            BalanceMode::Passthrough => "passthrough",
        };
        let scopes: Vec<String> = s
            .load_balancing
            .preference
            .iter()
            .map(|s| format!("{s:?}").to_lowercase())
            .collect();
        Self {
            namespace: s.namespace.to_string(),
            name: s.name.to_string(),
            hostname: s.hostname.to_string(),
            addresses: s.addresses.iter().map(ToString::to_string).collect(),
            ports: ports(&s.ports),
            waypoint: s.waypoint.as_ref().map(gateway),
            load_balancing: format!("{mode} {}", scopes.join(",")).trim_end().to_owned(),
            endpoints: None,
        }
    }
}

impl From<&Policy> for PolicyView {
    fn from(p: &Policy) -> Self {
        let action = match (p.audit, p.action) {
            (Some(Audit::Audit), _) => "AUDIT",
            (_, Action::Allow) => "ALLOW",
            (_, Action::Deny) => "DENY",
        };
        let rules = p.rules.iter().map(|r| {
            r.clauses
                .iter()
                .map(|c| c.matches.iter().map(match_fields).collect())
                .collect()
        });
        Self {
            namespace: p.key.namespace.to_string(),
            name: p.key.name.to_string(),
            scope: match p.scope {
                PolicyScope::Mesh => "mesh".into(),
                PolicyScope::Namespace => "namespace".into(),
                PolicyScope::Selector => "selector".into(),
            },
            action: action.to_owned(),
            dry_run: p.audit == Some(Audit::DryRun),
            rules: rules.collect(),
        }
    }
}

fn owner_kind(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "deployment",
        WorkloadKind::CronJob => "cronjob",
        WorkloadKind::Pod => "pod",
        WorkloadKind::Job => "job",
    }
}

fn ports(list: &[PortMapping]) -> Vec<String> {
    // A target port of 0 is a name that each endpoint resolves for itself.
    list.iter()
        .map(|p| match p.target_port {
            0 => format!("{}:(by name)", p.service_port),
            port => format!("{}:{port}", p.service_port),
        })
        .collect()
}

fn gateway(g: &GatewayAddress) -> String {
    match &g.destination {
        GatewayDestination::Service(key) => format!("{key}:{}", g.hbone_port),
        GatewayDestination::Address(a) => format!("{a}:{}", g.hbone_port),
    }
}

fn match_fields(m: &Match) -> BTreeMap<String, Vec<String>> {
    fn texts<T: ToString>(list: &[T]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }
    let strings = |list: &[StringMatch]| -> Vec<String> { list.iter().map(pattern).collect() };
    let accounts = |list: &[warren_core::policy::ServiceAccountMatch]| -> Vec<String> {
        list.iter()
            .map(|a| format!("{}/{}", a.namespace, a.service_account))
            .collect()
    };
    let fields = [
        ("namespaces", strings(&m.namespaces)),
        ("notNamespaces", strings(&m.not_namespaces)),
        ("principals", strings(&m.principals)),
        ("notPrincipals", strings(&m.not_principals)),
        ("serviceAccounts", accounts(&m.service_accounts)),
        ("notServiceAccounts", accounts(&m.not_service_accounts)),
        ("sourceIps", texts(&m.source_ips)),
        ("notSourceIps", texts(&m.not_source_ips)),
        ("destinationIps", texts(&m.destination_ips)),
        ("notDestinationIps", texts(&m.not_destination_ips)),
        ("destinationPorts", texts(&m.destination_ports)),
        ("notDestinationPorts", texts(&m.not_destination_ports)),
    ];
    fields
        .into_iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(k, v)| (k.to_owned(), v))
        .collect()
}

/// Patterns as policies write them: `exact`, `prefix*`, `*suffix`, `*`.
fn pattern(m: &StringMatch) -> String {
    match m {
        StringMatch::Exact(s) => s.to_string(),
        StringMatch::Prefix(s) => format!("{s}*"),
        StringMatch::Suffix(s) => format!("*{s}"),
        StringMatch::Presence => "*".to_owned(),
    }
}
