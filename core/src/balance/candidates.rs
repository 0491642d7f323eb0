//! The endpoints that may take a connection.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{NoEndpoint, Origin};
use crate::address::{Family, canonical};
use crate::mesh::Mesh;
use crate::service::{BalanceMode, PortMapping, Service, ServiceKey};
use crate::workload::{Health, Workload};

/// What a connection needs of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where the connection comes from.
    pub origin: Origin<'a>,
    /// The service port that was asked for.
    pub port: u16,
    /// The family that the endpoint's address must have; None for any (the first address is taken).
    pub family: Option<Family>,
}

/// An endpoint that may take a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The workload.
    pub workload: Arc<Workload>,
    /// Its address; None if it is known by [`Workload::hostname`] only, or is behind its network's gateway.
    pub ip: Option<IpAddr>,
    /// The port that it listens on; never 0.
    pub target_port: u16,
    /// Its share of connections, relative to the other candidates'. 0 is none.
    pub weight: u32,
}

impl Candidate {
    /// Where to connect, unless the name has to be resolved or the gateway to be taken.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.target_port))
    }
}

/// What [`candidates`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The service wants no choice: go to the address that was asked for.
    Passthrough,
    /// One of these, which are at least one, in order of uid.
    OneOf(Vec<Candidate>),
}

enum Unfit {
    NotReady,
    WithoutPort,
    OtherFamily,
    Unreachable,
}

/// Finds the endpoints of `service` that may take a connection, by health, port, family and nearness.
///
/// # Errors
/// Nobody may; the error counts why.
pub fn candidates(
    service: &Service,
    mesh: &Mesh,
    request: &Request<'_>,
) -> Result<Selection, NoEndpoint> {
    let balancing = &service.load_balancing;
    if balancing.mode == BalanceMode::Passthrough {
        return Ok(Selection::Passthrough);
    }
    let key = service.key();
    let mut failure = NoEndpoint::new(key.clone(), request.port);
    let mut found = Vec::new();
    let mut best = 0;
    for workload in mesh.endpoints(&key) {
        failure.total += 1;
        let candidate = match fit(service, &key, workload, request) {
            Ok(candidate) => candidate,
            Err(why) => {
                *failure.count(why) += 1;
                continue;
            }
        };
        let scopes = &balancing.preference;
        let near = request.origin.nearness(scopes, workload);
        match balancing.mode {
            BalanceMode::Strict if near < scopes.len() => failure.out_of_scope += 1,
            BalanceMode::Failover => match near.cmp(&best) {
                Ordering::Less => {}
                Ordering::Equal => found.push(candidate),
                Ordering::Greater => {
                    best = near;
                    found = vec![candidate];
                }
            },
            _ => found.push(candidate),
        }
    }
    if found.is_empty() {
        Err(failure)
    } else {
        Ok(Selection::OneOf(found))
    }
}

fn fit(
    service: &Service,
    key: &ServiceKey,
    workload: &Arc<Workload>,
    request: &Request<'_>,
) -> Result<Candidate, Unfit> {
    if workload.health != Health::Healthy && !service.load_balancing.allow_unhealthy {
        return Err(Unfit::NotReady);
    }
    let target_port =
        target_port(service, key, workload, request.port).ok_or(Unfit::WithoutPort)?;
    let ip = address(workload, request)?;
    Ok(Candidate {
        workload: workload.clone(),
        ip,
        target_port,
        weight: workload.capacity,
    })
}

/// The workload's own mapping goes before the service's; a name that its pod does not define (0) is no port.
fn target_port(service: &Service, key: &ServiceKey, workload: &Workload, port: u16) -> Option<u16> {
    let in_list = |ports: &[PortMapping]| ports.iter().find(|p| p.service_port == port).copied();
    let own = workload.services.get(key).and_then(|ports| in_list(ports));
    let mapping = own.or_else(|| in_list(&service.ports))?;
    (mapping.target_port != 0).then_some(mapping.target_port)
}

fn address(workload: &Workload, request: &Request<'_>) -> Result<Option<IpAddr>, Unfit> {
    if *workload.network != *request.origin.network {
        // An address there means nothing here, whatever its family.
        return workload
            .network_gateway
            .as_ref()
            .map(|_| None)
            .ok_or(Unfit::Unreachable);
    }
    if workload.addresses.is_empty() && !workload.hostname.is_empty() {
        return Ok(None);
    }
    let wanted = |ip: &IpAddr| {
        request
            .family
            .is_none_or(|family| family == Family::of(*ip))
    };
    let found = workload
        .addresses
        .iter()
        .copied()
        .map(canonical)
        .find(wanted);
    found.map(Some).ok_or(Unfit::OtherFamily)
}

impl NoEndpoint {
    fn count(&mut self, why: Unfit) -> &mut usize {
        match why {
            Unfit::NotReady => &mut self.not_ready,
            Unfit::WithoutPort => &mut self.without_port,
            Unfit::OtherFamily => &mut self.other_family,
            Unfit::Unreachable => &mut self.unreachable,
        }
    }
}
