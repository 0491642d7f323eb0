//! Pods to workloads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use warren_core::Workload;
use warren_core::service::{PortMapping, ServiceKey};
use warren_core::workload::{Health, TunnelProtocol, Uid, WorkloadKind};

use super::Index;
use super::endpoints::EndpointId;
use super::scoped::Attached;
use crate::model::labels::Traits;
use crate::model::pod::named_port;
use crate::model::{Id, Kind, ObjectKey, Owner, Pod, ServicePort, TargetPort};
use crate::warning::Warning;

/// What a pod amounts to.
#[derive(Debug, Default)]
pub(super) struct Derived {
    /// None before a node has taken it.
    pub workload: Option<Workload>,
    /// Policies that it names.
    pub attached: Attached,
    /// What its author should know.
    pub warnings: Vec<Warning>,
}

/// The Services of a pod.
#[derive(Default)]
struct Backed {
    services: BTreeMap<ServiceKey, Vec<PortMapping>>,
    ports: BTreeMap<Id, BTreeSet<u16>>,
    notes: Vec<(String, String)>,
}

impl Index {
    /// The uid of a pod's workload.
    pub(super) fn pod_uid(&self, id: &Id) -> Uid {
        Uid(format!("{}//Pod/{}/{}", self.config.cluster, id.namespace, id.name).into())
    }

    fn awaits_namespace(&self, name: &str) -> bool {
        self.config.namespaces_come && !self.store.namespaces.contains_key(name)
    }

    pub(super) fn derive_pod(&self, id: &Id) -> Derived {
        // Its node's agent has to know a pod that has no address yet: it gets one only once the agent has let it in.
        let placed = |p: &&Arc<Pod>| !p.ips.is_empty() || !p.node.is_empty();
        let Some(pod) = self.store.pods.get(id).filter(placed) else {
            return Derived::default();
        };
        let namespace = self.store.namespace(&id.namespace);
        let (traits, _) = Traits::of(&pod.meta);
        let undecided = traits.mesh.is_none() && !pod.host_network;
        if undecided && self.awaits_namespace(&id.namespace) {
            // To whoever asks, it is a pod that the controller does not know yet, not one outside the mesh.
            return Derived::default();
        }
        let asked = traits.mesh.or(namespace.mesh).unwrap_or(false);
        let enrolled = asked && !pod.host_network && !self.config.leaving;
        let backed = self.backed(pod);
        let attached = if enrolled {
            self.attached(pod, &backed.ports)
        } else {
            Attached::default()
        };
        let mut notes = backed.notes;
        self.note_conflicts(pod, traits, &mut notes);
        notes.extend(self.contending_peers(pod).filter(|_| enrolled));
        let key = ObjectKey {
            kind: Kind::Pod,
            id: id.clone(),
        };
        let mut warnings = self.warnings_of(&key, notes);
        warnings.extend(self.trait_warnings(&key, &pod.meta));
        let encrypted = traits.encryption_required || namespace.encryption_required;
        let direct = traits
            .direct_flows
            .or(namespace.direct_flows)
            .unwrap_or(true);
        let mut workload = self.plain_workload(pod);
        workload.protocol = if enrolled {
            TunnelProtocol::Hbone
        } else {
            TunnelProtocol::None
        };
        workload.mesh_by_pod = traits.mesh.is_some();
        workload.direct_flows_off = encrypted || !direct;
        workload.services = backed.services;
        workload.policies = attached.policies.iter().cloned().collect();
        Derived {
            workload: Some(workload),
            attached,
            warnings,
        }
    }

    /// The part that depends on the pod and its node alone.
    fn plain_workload(&self, pod: &Pod) -> Workload {
        let Id { namespace, name } = pod.meta.id.clone();
        let (kind, workload_name) = match &pod.owner {
            Some(owner) => (owner_kind(owner), Arc::from(owner.name.as_str())),
            None => (WorkloadKind::Pod, name.clone()),
        };
        let label = |keys: [&str; 2]| {
            let value = keys
                .iter()
                .find_map(|k| pod.meta.labels.get(*k).filter(|v| !v.is_empty()));
            value.map(|v| Arc::from(v.as_str()))
        };
        Workload {
            uid: self.pod_uid(&pod.meta.id),
            name,
            namespace,
            addresses: pod.ips.clone(),
            hostname: "".into(),
            network: "".into(),
            protocol: TunnelProtocol::None,
            trust_domain: self.config.trust_domain.clone(),
            service_account: pod.service_account.clone(),
            node: pod.node.clone(),
            cluster: self.config.cluster.clone(),
            canonical_name: label(["app.kubernetes.io/name", "app"])
                .unwrap_or_else(|| workload_name.clone()),
            canonical_revision: label(["app.kubernetes.io/version", "version"])
                .unwrap_or_else(|| "latest".into()),
            workload_name,
            kind,
            waypoint: None,
            network_gateway: None,
            native_tunnel: false,
            policies: Vec::new(),
            health: if pod.ready || self.is_last_resort(pod) {
                Health::Healthy
            } else {
                Health::Unhealthy
            },
            locality: self.store.nodes.get(&pod.node).cloned().unwrap_or_default(),
            host_network: pod.host_network,
            capacity: 1,
            services: BTreeMap::new(),
            direct_flows_off: false,
            probe_ports: pod.probe_ports.clone(),
            mesh_by_pod: false,
        }
    }

    /// As kube-proxy does it: where none of a Service's pods is ready, those that are going but still serve are better than
    /// none.
    fn is_last_resort(&self, pod: &Pod) -> bool {
        let Id { namespace, .. } = &pod.meta.id;
        let mut services = self
            .store
            .service_selectors
            .choosing(namespace, &pod.meta.labels)
            .filter_map(|id| self.store.services.get(id))
            .peekable();
        pod.draining
            && services.peek().is_some()
            && services.all(|s| !self.store.has_ready_pod(s, &pod.meta.id))
    }

    fn backed(&self, pod: &Pod) -> Backed {
        let mut backed = Backed::default();
        let namespace = &pod.meta.id.namespace;
        for id in self
            .store
            .service_selectors
            .choosing(namespace, &pod.meta.labels)
        {
            let Some(service) = self.store.services.get(id).filter(|s| !s.external_name) else {
                continue;
            };
            let mut mappings = Vec::new();
            for port in &service.ports {
                let target_port = target_port(pod, port).unwrap_or_else(|| {
                    backed.notes.push((
                        format!(
                            "Service {id}: port {}: {:?} is no TCP port of this pod",
                            port.port, port.target
                        ),
                        "name it in the pod's container ports, or correct the Service's targetPort"
                            .into(),
                    ));
                    0
                });
                mappings.push(PortMapping {
                    service_port: port.port,
                    target_port,
                });
            }
            let ports = mappings.iter().map(|m| m.target_port).filter(|p| *p != 0);
            backed.ports.insert(id.clone(), ports.collect());
            backed.services.insert(self.service_key(id), mappings);
        }
        if !pod.host_network {
            self.listed(pod, &mut backed);
        }
        backed
    }

    /// Services without a selector whose EndpointSlices list the pod's addresses, in any namespace.
    fn listed(&self, pod: &Pod, backed: &mut Backed) {
        let endpoints = pod
            .ips
            .iter()
            .filter_map(|ip| self.store.endpoints_by_ip.get(ip))
            .flatten();
        for endpoint in endpoints {
            let EndpointId { namespace, .. } = endpoint;
            // Policies for a Service hold also for what is not ready to serve it.
            for (key, mappings) in self.endpoint_services(endpoint) {
                if *namespace == pod.meta.id.namespace {
                    let name = key.hostname.split('.').next().unwrap_or_default();
                    let ports = backed
                        .ports
                        .entry(Id::new(namespace.clone(), name))
                        .or_default();
                    ports.extend(mappings.iter().map(|m| m.target_port));
                }
            }
            for (key, mappings) in self.serving(endpoint) {
                let known = backed.services.entry(key).or_default();
                known.extend(mappings);
                known.sort();
                known.dedup();
            }
        }
    }

    fn note_conflicts(&self, pod: &Pod, traits: Traits, notes: &mut Vec<(String, String)>) {
        if pod.host_network {
            if traits.mesh == Some(true) {
                notes.push((
                    "uses the host network, so it cannot be enrolled".into(),
                    "remove hostNetwork, or the label".into(),
                ));
            }
            return;
        }
        for ip in &pod.ips {
            let claims = self.store.pods_by_ip.get(ip).into_iter().flatten();
            for other in claims.filter(|other| **other != pod.meta.id) {
                notes.push((
                    format!("address {ip} is also that of pod {other}"),
                    "delete the pod that is gone, or correct status.podIPs".into(),
                ));
            }
        }
    }
}

fn target_port(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target {
        TargetPort::Number(n) => Some(*n),
        TargetPort::Name(name) => named_port(&pod.ports, name),
    }
}

fn owner_kind(owner: &Owner) -> WorkloadKind {
    match owner.kind.as_str() {
        "Deployment" => WorkloadKind::Deployment,
        "CronJob" => WorkloadKind::CronJob,
        "Job" => WorkloadKind::Job,
        _ => WorkloadKind::Pod,
    }
}
