//! Endpoints that EndpointSlices list for Services without a selector.

use std::collections::BTreeMap;
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

    /// The workload of an address that belongs to no pod and backs at least one Service.
    pub(super) fn derive_endpoint(&self, id: &EndpointId) -> Option<Workload> {
        if self.store.pods_by_ip.contains_key(&id.ip) {
            return None;
        }
        let services = self.endpoint_services(id);
        let backing = self.backing(id);
        let (_, first) = backing.first()?;
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
            health: if backing.iter().any(|(_, e)| e.ready) {
                Health::Healthy
            } else {
                Health::Unhealthy
            },
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

    /// The Services without a selector that an address backs.
    pub(super) fn endpoint_services(
        &self,
        id: &EndpointId,
    ) -> BTreeMap<ServiceKey, Vec<PortMapping>> {
        let mut services: BTreeMap<ServiceKey, Vec<PortMapping>> = BTreeMap::new();
        for (slice, _) in self.backing(id) {
            let service_id = Id::new(id.namespace.clone(), slice.service.clone());
            if let Some(service) = self.store.services.get(&service_id) {
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
                service.is_some_and(|s| s.selector.is_empty() && !s.external_name)
            });
        slices
            .filter_map(|s| Some((&**s, s.endpoints.iter().find(|e| e.ip == id.ip)?)))
            .collect()
    }
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
