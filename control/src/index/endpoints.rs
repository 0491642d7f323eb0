//! Endpoints that EndpointSlices list for Services without a selector.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use warren_core::Workload;
use warren_core::service::{PortMapping, ServiceKey};
use warren_core::workload::{Health, Locality, TunnelProtocol, Uid, WorkloadKind};

use super::Index;
use crate::model::{Endpoint, EndpointSlice, Id, Service};

/// An address that slices of one namespace list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId {
    /// Namespace of the slices.
    pub namespace: Arc<str>,
    /// The address.
    pub ip: IpAddr,
}

type ByService = BTreeMap<ServiceKey, Vec<PortMapping>>;

impl Index {
    /// Resource name of an endpoint that is no pod.
    pub(super) fn endpoint_uid(&self, id: &EndpointId) -> Uid {
        let EndpointId { namespace, ip } = id;
        Uid(format!(
            "{}/discovery.k8s.io/EndpointSlice/{namespace}/{ip}",
            self.config.cluster
        )
        .into())
    }

    /// The workload of an address that belongs to no pod and no Service, and backs at least one Service. A workload goes
    /// before a Service of the same address, so whoever may write slices could take any Service away.
    pub(super) fn derive_endpoint(&self, id: &EndpointId) -> Option<Workload> {
        let store = &self.store;
        if store.pods_by_ip.contains_key(&id.ip) || store.services_by_ip.contains_key(&id.ip) {
            return None;
        }
        let backing = self.backing(id);
        let (_, first) = backing.first()?;
        // Where it is ready for nobody, those who ask are told that it is there and not ready.
        let serving = self.serving(id);
        let (health, services) = if serving.is_empty() {
            (Health::Unhealthy, self.endpoint_services(id))
        } else {
            (Health::Healthy, serving)
        };
        let name: Arc<str> = id.ip.to_string().into();
        Some(Workload {
            uid: self.endpoint_uid(id),
            namespace: id.namespace.clone(),
            addresses: vec![id.ip],
            hostname: "".into(),
            network: "".into(),
            protocol: TunnelProtocol::None,
            trust_domain: self.config.trust_domain.clone(),
            service_account: "default".into(),
            node: first.node.clone(),
            cluster: self.config.cluster.clone(),
            canonical_name: name.clone(),
            canonical_revision: "latest".into(),
            workload_name: name.clone(),
            name,
            kind: WorkloadKind::Pod,
            waypoint: None,
            network_gateway: None,
            native_tunnel: false,
            policies: Vec::new(),
            health,
            locality: Locality {
                zone: first.zone.clone(),
                ..Locality::default()
            },
            host_network: false,
            capacity: 1,
            services,
            direct_flows_off: false,
            probe_ports: Vec::new(),
            mesh_by_pod: false,
        })
    }

    /// The Services without a selector that list an address.
    pub(super) fn endpoint_services(&self, id: &EndpointId) -> ByService {
        self.backed_where(id, |_, _| true)
    }

    /// Those of them for which it takes traffic: a slice says for its own Service only whether the address is ready.
    pub(super) fn serving(&self, id: &EndpointId) -> ByService {
        self.backed_where(id, |service, e| e.ready || service.publish_not_ready)
    }

    fn backed_where(
        &self,
        id: &EndpointId,
        counts: impl Fn(&Service, &Endpoint) -> bool,
    ) -> ByService {
        let mut services = ByService::new();
        for (slice, endpoint) in self.backing(id) {
            let service_id = Id::new(id.namespace.clone(), slice.service.clone());
            let service = self.store.services.get(&service_id);
            if let Some(service) = service.filter(|s| counts(s, endpoint)) {
                let ports = services.entry(self.service_key(&service_id)).or_default();
                ports.extend(mappings(service, slice));
                ports.sort();
                ports.dedup();
            }
        }
        services
    }

    fn backing(&self, id: &EndpointId) -> Vec<(&EndpointSlice, &Endpoint)> {
        let slices = self.store.slices_by_endpoint.get(id).into_iter().flatten();
        let slices = slices
            .filter_map(|s| self.store.slices.get(s))
            .filter(|slice| {
                let service = Id::new(id.namespace.clone(), slice.service.clone());
                let service = self.store.services.get(&service);
                service.is_some_and(|s| without_selector(s))
            });
        slices
            .filter_map(|s| Some((&**s, s.endpoints.iter().find(|e| e.ip == id.ip)?)))
            .collect()
    }

    /// What the author of a slice should know.
    pub(super) fn slice_notes(&self, id: &Id) -> Vec<(String, String)> {
        let Some(slice) = self.store.slices.get(id) else {
            return Vec::new();
        };
        let service = Id::new(id.namespace.clone(), slice.service.clone());
        let service = self.store.services.get(&service);
        if !service.is_some_and(|s| without_selector(s)) {
            return Vec::new();
        }
        let ips: BTreeSet<IpAddr> = slice.endpoints.iter().map(|e| e.ip).collect();
        let note = |ip: IpAddr| {
            let holder = self.store.services_by_ip.get(&ip)?.first()?;
            Some((
                format!("endpoints: {ip} is the address of Service {holder}, so it is left out"),
                "list the addresses of what stands behind that Service".into(),
            ))
        };
        ips.into_iter().filter_map(note).collect()
    }
}

/// Whether slices name its endpoints.
fn without_selector(service: &Service) -> bool {
    service.selector.is_empty() && !service.external_name
}

/// Ports of service and slice belong together by name.
fn mappings(service: &Service, slice: &EndpointSlice) -> Vec<PortMapping> {
    let target = |name: &str| slice.ports.iter().find(|(n, _)| n == name).map(|(_, p)| *p);
    service
        .ports
        .iter()
        .filter_map(|p| {
            Some(PortMapping {
                service_port: p.port,
                target_port: target(&p.name)?,
            })
        })
        .collect()
}
