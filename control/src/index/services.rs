//! Services, as tunnels and agents see them.

use warren_core::address::NetworkAddress;
use warren_core::service::{BalanceMode, LoadBalancing, PortMapping, Scope, ServiceKey};

use super::Index;
use crate::model::{Id, Service, TargetPort};

impl Index {
    /// `<name>.<namespace>.svc.<domain>` in its namespace.
    pub(super) fn service_key(&self, id: &Id) -> ServiceKey {
        let hostname = format!(
            "{}.{}.svc.{}",
            id.name, id.namespace, self.config.cluster_domain
        );
        ServiceKey {
            namespace: id.namespace.clone(),
            hostname: hostname.into(),
        }
    }

    /// None for a Service that is only a name.
    pub(super) fn derive_service(&self, id: &Id) -> Option<warren_core::Service> {
        let service = self.store.services.get(id).filter(|s| !s.external_name)?;
        let key = self.service_key(id);
        let port = |target: &TargetPort| match target {
            TargetPort::Number(n) => *n,
            TargetPort::Name(_) => 0,
        };
        Some(warren_core::Service {
            name: id.name.clone(),
            namespace: id.namespace.clone(),
            hostname: key.hostname,
            addresses: service
                .cluster_ips
                .iter()
                .copied()
                .map(NetworkAddress::local)
                .collect(),
            ports: service
                .ports
                .iter()
                .map(|p| PortMapping {
                    service_port: p.port,
                    target_port: port(&p.target),
                })
                .collect(),
            subject_alt_names: Vec::new(),
            waypoint: None,
            load_balancing: balancing(service),
        })
    }
}

/// internalTrafficPolicy is a rule and goes before trafficDistribution, which is a wish.
fn balancing(service: &Service) -> LoadBalancing {
    let (mode, preference) = if service.node_local {
        (BalanceMode::Strict, vec![Scope::Node])
    } else if service.distribution.is_empty() {
        (BalanceMode::Any, Vec::new())
    } else {
        (BalanceMode::Failover, service.distribution.clone())
    };
    LoadBalancing {
        preference,
        mode,
        allow_unhealthy: service.publish_not_ready,
        client_ip_affinity: service.affinity,
    }
}
