//! Choice of an endpoint.

use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::address::Family;
use crate::mesh::Mesh;
use crate::service::{BalanceMode, LoadBalancing, PortMapping, Scope, Service, ServiceKey};
use crate::workload::{GatewayAddress, GatewayDestination, Health, Locality, Workload};

mod affinity;
mod alias;
mod choice;
mod nearness;

fn ip(s: &str) -> IpAddr {
    s.parse().expect("address in a test")
}

fn web() -> ServiceKey {
    ServiceKey::new("shop", "web.example")
}

fn ports(of: &[(u16, u16)]) -> Vec<PortMapping> {
    of.iter()
        .map(|(service_port, target_port)| PortMapping {
            service_port: *service_port,
            target_port: *target_port,
        })
        .collect()
}

/// Port 80 of the service is 8080 of its workloads.
fn service(load_balancing: LoadBalancing) -> Service {
    Service {
        ports: ports(&[(80, 8080)]),
        load_balancing,
        ..Service::new("shop", "web", "web.example")
    }
}

fn endpoint(name: &str, address: &str) -> Workload {
    Workload {
        addresses: vec![ip(address)],
        services: [(web(), Vec::new())].into(),
        ..Workload::new(name, "shop", name)
    }
}

fn mesh(endpoints: impl IntoIterator<Item = Workload>) -> Mesh {
    let mut mesh = Mesh::default();
    for w in endpoints {
        mesh.upsert_workload(w);
    }
    mesh
}

fn request(from: &Workload) -> Request<'_> {
    Request {
        origin: from.into(),
        port: 80,
        family: None,
    }
}

fn client() -> Workload {
    Workload::new("client", "shop", "client")
}

/// The uids found, joined by blanks.
fn uids(found: Result<Selection, NoEndpoint>) -> String {
    let Ok(Selection::OneOf(found)) = found else {
        return format!("{found:?}");
    };
    found
        .iter()
        .map(|c| c.workload.uid.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

fn candidate(name: &str, weight: u32) -> Candidate {
    let workload = Arc::new(endpoint(name, "10.0.0.1"));
    Candidate {
        workload,
        ip: Some(ip("10.0.0.1")),
        target_port: 8080,
        weight,
    }
}
