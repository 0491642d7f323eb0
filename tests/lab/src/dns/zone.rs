//! What names there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;

use super::codec::{A, AAAA, ANY, CNAME, Code, Data, SRV};
use crate::services::ServiceView;

/// The cluster's domain.
const DOMAIN: &str = "cluster.local";

/// Records of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Alias.
    pub alias: Option<String>,
    /// Services: port and target.
    pub services: Vec<(u16, String)>,
}

/// All names, in lower case and without the final dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    names: HashMap<String, Record>,
}

/// The zone that the servers answer from.
#[derive(Clone, Default)]
pub struct SharedZone(Arc<RwLock<Arc<Zone>>>);

impl SharedZone {
    /// The zone now.
    pub fn get(&self) -> Arc<Zone> {
        self.0.read().clone()
    }

    /// Replaces the zone.
    pub fn set(&self, zone: Zone) {
        *self.0.write() = Arc::new(zone);
    }
}

impl Zone {
    /// The zone of a cluster with these Services.
    pub fn of(services: &[ServiceView]) -> Self {
        let mut zone = Self::default();
        for service in services {
            zone.add(service);
        }
        zone
    }

    /// Answers for `name` and the record type `kind`.
    pub fn answer(&self, name: &str, kind: u16) -> (Code, Vec<(String, Data)>) {
        if let Some(address) = pod_name(name) {
            let fits = kind == ANY || kind == if address.is_ipv4() { A } else { AAAA };
            let data = (name.to_owned(), Data::Address(address));
            return (Code::NoError, fits.then_some(data).into_iter().collect());
        }
        let Some(record) = self.names.get(name) else {
            return (Code::NxDomain, Vec::new());
        };
        let mut answers = Vec::new();
        if let Some(alias) = &record.alias {
            answers.push((name.to_owned(), Data::Alias(alias.clone())));
            if kind != CNAME {
                answers.extend(self.answer(alias, kind).1);
            }
        }
        let wanted = |a: &&IpAddr| kind == ANY || kind == if a.is_ipv4() { A } else { AAAA };
        let addresses = record.addresses.iter().filter(wanted);
        answers.extend(addresses.map(|a| (name.to_owned(), Data::Address(*a))));
        if kind == SRV {
            answers.extend(
                record
                    .services
                    .iter()
                    .map(|(p, t)| (name.to_owned(), Data::Service(*p, t.clone()))),
            );
        }
        (Code::NoError, answers)
    }

    fn add(&mut self, service: &ServiceView) {
        let base = format!("{}.{}.svc.{DOMAIN}", service.name, service.namespace);
        if let Some(target) = &service.external_name {
            let alias = Some(target.trim_end_matches('.').to_lowercase());
            self.names.insert(
                base,
                Record {
                    alias,
                    ..Record::default()
                },
            );
            return;
        }
        let headless = service.cluster_ips.is_empty();
        let mut all = service.cluster_ips.clone();
        for endpoint in service.usable().filter(|_| headless) {
            let of_family =
                |a: &&IpAddr| service.families.contains(&crate::services::Family::of(**a));
            let addresses: Vec<IpAddr> = endpoint
                .addresses
                .iter()
                .filter(of_family)
                .copied()
                .collect();
            all.extend(&addresses);
            if let Some(hostname) = &endpoint.hostname {
                self.names.insert(
                    format!("{hostname}.{base}"),
                    Record {
                        addresses,
                        ..Record::default()
                    },
                );
            }
        }
        for port in service.ports.iter().filter(|p| !p.name.is_empty()) {
            let record = Record {
                services: vec![(port.port, base.clone())],
                ..Record::default()
            };
            self.names
                .insert(format!("_{}._{}.{base}", port.name, port.protocol), record);
        }
        self.names.insert(
            base,
            Record {
                addresses: all,
                ..Record::default()
            },
        );
    }
}

/// `10-244-0-2.shop.pod.cluster.local` is 10.244.0.2, whoever has it.
fn pod_name(name: &str) -> Option<IpAddr> {
    let rest = name.strip_suffix(&format!(".pod.{DOMAIN}"))?;
    let (address, namespace) = rest.split_once('.')?;
    if namespace.contains('.') {
        return None;
    }
    address
        .replace('-', ".")
        .parse()
        .or_else(|_| address.replace('-', ":").parse())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{EndpointView, Family};

    fn service(name: &str, vips: &[&str]) -> ServiceView {
        let endpoint = EndpointView {
            pod: "db-0".into(),
            uid: "u".into(),
            node: "a".into(),
            addresses: vec!["10.244.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            ports: vec![],
            ready: true,
            hostname: Some("db-0".into()),
        };
        ServiceView {
            namespace: "shop".into(),
            name: name.into(),
            uid: "s".into(),
            cluster_ips: vips.iter().map(|v| v.parse().unwrap()).collect(),
            families: vec![Family::V4, Family::V6],
            external_name: None,
            ports: vec![],
            endpoints: vec![
                endpoint.clone(),
                EndpointView {
                    ready: false,
                    hostname: None,
                    ..endpoint
                },
            ],
            publish_not_ready: false,
            selected: true,
        }
    }

    #[test]
    fn services_and_pods_have_names() {
        let zone = Zone::of(&[service("web", &["10.96.0.21"]), service("db", &[])]);
        let (code, answers) = zone.answer("web.shop.svc.cluster.local", A);
        assert_eq!((code, answers.len()), (Code::NoError, 1));
        assert_eq!(
            zone.answer("web.shop.svc.cluster.local", AAAA),
            (Code::NoError, vec![])
        );
        assert_eq!(
            zone.answer("db.shop.svc.cluster.local", A).1.len(),
            1,
            "only ready pods"
        );
        assert_eq!(
            zone.answer("db-0.db.shop.svc.cluster.local", AAAA).1.len(),
            1
        );
        assert_eq!(
            zone.answer("10-244-0-9.shop.pod.cluster.local", A).1.len(),
            1
        );
        assert_eq!(
            zone.answer("nope.shop.svc.cluster.local", A).0,
            Code::NxDomain
        );
        assert_eq!(zone.answer("example.com", A).0, Code::NxDomain);
    }
}
