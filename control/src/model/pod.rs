//! Pods.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use warren_core::address::canonical;

use super::{Labels, Meta};

/// What the index needs of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Metadata.
    pub meta: Meta,
    /// Canonical addresses from its status.
    pub ips: Vec<IpAddr>,
    /// Node that it is bound to; empty before.
    pub node: Arc<str>,
    /// Service account; `default` where none is given.
    pub service_account: Arc<str>,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Whether its Ready condition is true and it is not being deleted.
    pub ready: bool,
    /// Whether it is being deleted, and still serves: its Ready condition is true.
    pub draining: bool,
    /// Whether it ended for good (phase Succeeded or Failed).
    pub finished: bool,
    /// Named TCP ports of its containers.
    pub ports: Vec<(String, u16)>,
    /// TCP ports that the kubelet connects to, for probes and lifecycle hooks, sorted.
    pub probe_ports: Vec<u16>,
    /// What created it.
    pub owner: Option<Owner>,
}

/// What created a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// The pod's own port of this name.
pub fn named_port(ports: &[(String, u16)], name: &str) -> Option<u16> {
    ports.iter().find(|(n, _)| n == name).map(|(_, p)| *p)
}

impl Pod {
    /// Cuts a Pod down; the second value names what could not be understood.
    pub fn from_kubernetes(meta: Meta, pod: &core::Pod) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let ports = named_ports(&spec);
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        let account = spec
            .service_account_name
            .or(spec.service_account)
            .filter(|a| !a.is_empty());
        let containers = || {
            spec.init_containers
                .iter()
                .flatten()
                .chain(&spec.containers)
        };
        let probe_ports = containers()
            .flat_map(|c| probe_ports(c, &ports, &mut problems))
            .collect::<BTreeSet<_>>();
        let pod = Self {
            ips: addresses(&status, &mut problems),
            node: spec.node_name.as_deref().unwrap_or_default().into(),
            service_account: account.as_deref().unwrap_or("default").into(),
            host_network: spec.host_network.unwrap_or(false),
            ready: ready && !deleting,
            draining: ready && deleting,
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            probe_ports: probe_ports.into_iter().collect(),
            owner: owner(pod, &meta.labels),
            ports,
            meta,
        };
        if pod.ips.is_empty() && status.phase.as_deref() == Some("Running") {
            problems.push("status.podIPs: it runs and has no address, so nobody reaches it, and it is in no Service".into());
        }
        (pod, problems)
    }
}

fn addresses(status: &core::PodStatus, problems: &mut Vec<String>) -> Vec<IpAddr> {
    let listed = status.pod_ips.iter().flatten().map(|i| i.ip.as_str());
    let single = status.pod_ip.as_deref();
    let mut ips: Vec<IpAddr> = Vec::new();
    for text in single.into_iter().chain(listed).filter(|t| !t.is_empty()) {
        match text.parse::<IpAddr>().map(canonical) {
            Ok(ip) if ips.contains(&ip) => {}
            Ok(ip) if ips.iter().any(|i| i.is_ipv4() == ip.is_ipv4()) => {
                problems.push(format!(
                    "status.podIPs: {ip} is a second address of its family"
                ));
            }
            Ok(ip) => ips.push(ip),
            Err(_) => problems.push(format!("status.podIPs: `{text}` is not an IP address")),
        }
    }
    ips
}

/// Init containers that go on running are sidecars, whose ports count.
fn named_ports(spec: &core::PodSpec) -> Vec<(String, u16)> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    ports
        .filter(|p| p.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .filter_map(|p| Some((p.name.clone()?, u16::try_from(p.container_port).ok()?)))
        .collect()
}

fn probe_ports(
    container: &core::Container,
    ports: &[(String, u16)],
    problems: &mut Vec<String>,
) -> Vec<u16> {
    let mut found = Vec::new();
    for (field, port) in called_ports(container) {
        let resolved = match &port {
            IntOrString::Int(n) => u16::try_from(*n).ok().filter(|n| *n != 0),
            IntOrString::String(name) => named_port(ports, name).or_else(|| name.parse().ok()),
        };
        match resolved {
            Some(port) => found.push(port),
            None => problems.push(format!(
                "container {}: {field}: no port {port:?}",
                container.name
            )),
        }
    }
    found
}

/// What the kubelet connects to, by the field that says so. A hook's `tcpSocket` is not there: kubelets refuse it when
/// they run it.
fn called_ports(container: &core::Container) -> Vec<(&'static str, IntOrString)> {
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    let mut called = Vec::new();
    for (field, probe) in probes.iter().filter_map(|(f, p)| Some((*f, p.as_ref()?))) {
        let http = probe.http_get.as_ref().map(|h| h.port.clone());
        let tcp = probe.tcp_socket.as_ref().map(|t| t.port.clone());
        let grpc = probe.grpc.as_ref().map(|g| IntOrString::Int(g.port));
        called.extend([http, tcp, grpc].into_iter().flatten().map(|p| (field, p)));
    }
    let lifecycle = container.lifecycle.as_ref();
    let hooks = [
        (
            "lifecycle.postStart",
            lifecycle.and_then(|l| l.post_start.as_ref()),
        ),
        (
            "lifecycle.preStop",
            lifecycle.and_then(|l| l.pre_stop.as_ref()),
        ),
    ];
    for (field, hook) in hooks {
        let http = hook.and_then(|h| h.http_get.as_ref());
        called.extend(http.map(|h| (field, h.port.clone())));
    }
    called
}

/// The controlling owner; a ReplicaSet stands for its Deployment, a CronJob's Job for the CronJob.
fn owner(pod: &core::Pod, labels: &Labels) -> Option<Owner> {
    let owners = pod.metadata.owner_references.as_deref()?;
    let owner = owners
        .iter()
        .find(|o| o.controller == Some(true))
        .or(owners.first())?;
    let (kind, name) = match owner.kind.as_str() {
        "ReplicaSet" => {
            let hash = labels.get("pod-template-hash").map(String::as_str);
            (
                "Deployment",
                strip_suffix(&owner.name, |s| hash.is_none_or(|h| h == s)),
            )
        }
        "Job" if strip_suffix(&owner.name, is_cron_stamp) != owner.name => {
            ("CronJob", strip_suffix(&owner.name, is_cron_stamp))
        }
        kind => (kind, owner.name.as_str()),
    };
    Some(Owner {
        kind: kind.to_owned(),
        name: name.to_owned(),
    })
}

fn strip_suffix(name: &str, is_suffix: impl Fn(&str) -> bool) -> &str {
    match name.rsplit_once('-') {
        Some((base, suffix)) if !base.is_empty() && is_suffix(suffix) => base,
        _ => name,
    }
}

/// The CronJob controller appends the scheduled time in minutes since 1970: eight digits for the next centuries.
fn is_cron_stamp(suffix: &str) -> bool {
    suffix.len() >= 8 && suffix.bytes().all(|b| b.is_ascii_digit())
}
