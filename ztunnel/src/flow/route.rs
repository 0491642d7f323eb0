//! Where an outbound connection goes. Pure: the mesh in, a hop out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use warren_core::address::{Family, canonical_socket};
use warren_core::balance::{
    AffinityTable, Candidate, NoEndpoint, Origin, Request, Selection, candidates, pick,
};
use warren_core::mesh::Target;
use warren_core::service::{Service, ServiceKey};
use warren_core::workload::{GatewayAddress, GatewayDestination, Health, Uid};
use warren_core::{Identity, Mesh, Workload};
use warren_hbone::{Expect, HBONE_PORT};

use crate::net::OriginalDestination;

/// How to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// By HBONE to `peer`, which has to be as `expect` says.
    Hbone {
        /// The peer's HBONE address.
        peer: SocketAddr,
        /// The `:authority` of the request.
        authority: SocketAddr,
        /// Who has to be there.
        expect: Expect,
    },
    /// As it is: the destination is not in the mesh.
    Plain(SocketAddr),
    /// The pod calls itself: over `lo`.
    Own(SocketAddr),
}

/// A way to the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// How.
    pub hop: Hop,
    /// The destination's own address and port, after any service was resolved.
    pub address: SocketAddr,
    /// The destination, where known.
    pub workload: Option<Arc<Workload>>,
    /// The service that was asked for.
    pub service: Option<ServiceKey>,
}

/// Why there is no way.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoRoute {
    /// Nobody can take it.
    #[error(transparent)]
    NoEndpoint(#[from] NoEndpoint),
    /// The endpoint has no address that can be reached from here.
    #[error(
        "{0} has no address that can be reached from this network; a gateway to its network is needed"
    )]
    NoAddress(Uid),
    /// Traffic must take a waypoint that is not there.
    #[error(
        "the waypoint {0:?} has no ready endpoint; traffic that must pass it is not let past it"
    )]
    NoWaypoint(GatewayDestination),
}

/// Who asks, and what was tried already.
pub struct Asker<'a> {
    /// The source pod.
    pub source: &'a Workload,
    /// What it asked for.
    pub asked: OriginalDestination,
    /// Endpoints that did not answer: taken again only where there is no other.
    pub tried: &'a [Uid],
    /// Endpoints of services with affinity.
    pub affinity: &'a Mutex<AffinityTable>,
}

/// Finds the way to what `asker` asked for.
pub fn route(mesh: &Mesh, asker: &Asker<'_>) -> Result<Route, NoRoute> {
    let asked = canonical_socket(asker.asked.asked);
    match mesh.target(asked.ip()) {
        None => Ok(Route {
            hop: Hop::Plain(asked),
            address: asked,
            workload: None,
            service: None,
        }),
        Some(Target::Workload(w)) => to_workload(mesh, asker.source, w, asked, None),
        Some(Target::Service(s)) => to_service(mesh, asker, s, asked),
    }
}

fn to_service(
    mesh: &Mesh,
    asker: &Asker<'_>,
    service: &Arc<Service>,
    asked: SocketAddr,
) -> Result<Route, NoRoute> {
    if let Some(gateway) = waypoint(asker.source, service.waypoint.as_ref(), mesh)? {
        return Ok(Route {
            hop: Hop::Hbone {
                peer: gateway.0,
                authority: asked,
                expect: Expect::one(gateway.1),
            },
            address: asked,
            workload: None,
            service: Some(service.key()),
        });
    }
    if let Some((w, backend)) = kernel_choice(mesh, asker, service) {
        return to_workload(mesh, asker.source, w, backend, Some(service));
    }
    let request = Request {
        origin: Origin::from(asker.source),
        port: asked.port(),
        family: Some(Family::of(asked.ip())),
    };
    let any_family = Request {
        family: None,
        ..request
    };
    let selection = candidates(service, mesh, &request)
        .or_else(|e| candidates(service, mesh, &any_family).map_err(|_| e))?;
    match selection {
        Selection::Passthrough => Ok(Route {
            hop: Hop::Plain(asked),
            address: asked,
            workload: None,
            service: Some(service.key()),
        }),
        Selection::OneOf(all) => {
            let chosen = choose(asker, service, asked.port(), &all);
            let address = chosen
                .socket()
                .ok_or_else(|| NoRoute::NoAddress(chosen.workload.uid.clone()))?;
            to_workload(mesh, asker.source, &chosen.workload, address, Some(service))
        }
    }
}

/// The kernel's choice, unless it has failed already or the model has moved on since.
fn kernel_choice<'m>(
    mesh: &'m Mesh,
    asker: &Asker<'_>,
    service: &Service,
) -> Option<(&'m Arc<Workload>, SocketAddr)> {
    let backend = canonical_socket(asker.asked.backend?);
    let w = mesh.workload_by_ip(backend.ip())?;
    let serves = w.services.contains_key(&service.key());
    let healthy = w.health == Health::Healthy || service.load_balancing.allow_unhealthy;
    (serves && healthy && !asker.tried.contains(&w.uid)).then_some((w, backend))
}

fn choose<'c>(
    asker: &Asker<'_>,
    service: &Service,
    port: u16,
    all: &'c [Candidate],
) -> &'c Candidate {
    let fresh: Vec<Candidate> = all
        .iter()
        .filter(|c| !asker.tried.contains(&c.workload.uid))
        .cloned()
        .collect();
    let from = if fresh.is_empty() { all } else { &fresh };
    let rng = &mut rand::rng();
    let picked = match (
        service.load_balancing.client_ip_affinity,
        asker.source.addresses.first(),
    ) {
        (Some(time), Some(client)) => asker.affinity.lock().pick(
            (*client, &service.key(), port),
            time,
            from,
            Instant::now(),
            rng,
        ),
        _ => pick(from, rng),
    };
    let uid = picked.map(|c| &c.workload.uid);
    // All weigh 0: the owner wants no traffic there, but has nothing else.
    all.iter()
        .find(|c| Some(&c.workload.uid) == uid)
        .unwrap_or(&all[0])
}

fn to_workload(
    mesh: &Mesh,
    source: &Workload,
    w: &Arc<Workload>,
    address: SocketAddr,
    service: Option<&Arc<Service>>,
) -> Result<Route, NoRoute> {
    let hop = if w.uid == source.uid {
        Hop::Own(address)
    } else if !w.is_enrolled() {
        Hop::Plain(address)
    } else if let Some((peer, id)) = own_waypoint(mesh, source, w, service)? {
        Hop::Hbone {
            peer,
            authority: address,
            expect: Expect::one(id),
        }
    } else {
        let peer = SocketAddr::new(address.ip(), HBONE_PORT);
        Hop::Hbone {
            peer,
            authority: address,
            expect: expected(w, service),
        }
    };
    Ok(Route {
        hop,
        address,
        workload: Some(w.clone()),
        service: service.map(|s| s.key()),
    })
}

/// A workload's waypoint is for traffic to its own address, not for what came by a service.
fn own_waypoint(
    mesh: &Mesh,
    source: &Workload,
    w: &Workload,
    service: Option<&Arc<Service>>,
) -> Result<Option<(SocketAddr, Identity)>, NoRoute> {
    let gateway = w.waypoint.as_ref().filter(|_| service.is_none());
    waypoint(source, gateway, mesh)
}

fn expected(w: &Workload, service: Option<&Arc<Service>>) -> Expect {
    let names = service.map_or(&[][..], |s| s.subject_alt_names.as_slice());
    let ids: Vec<Identity> = names.iter().filter_map(|n| n.parse().ok()).collect();
    if ids.is_empty() {
        Expect::one(w.identity())
    } else {
        Expect::OneOf(ids.into())
    }
}

/// The waypoint's address and identity. None where there is none to take, or where the source is that waypoint itself.
fn waypoint(
    source: &Workload,
    gateway: Option<&GatewayAddress>,
    mesh: &Mesh,
) -> Result<Option<(SocketAddr, Identity)>, NoRoute> {
    let Some(gateway) = gateway else {
        return Ok(None);
    };
    let missing = || NoRoute::NoWaypoint(gateway.destination.clone());
    let mut members: Vec<Arc<Workload>> = match &gateway.destination {
        GatewayDestination::Service(key) => mesh.endpoints(key).cloned().collect(),
        GatewayDestination::Address(a) => match mesh.service_by_address(a) {
            Some(s) => mesh.endpoints(&s.key()).cloned().collect(),
            None => mesh.workload_by_address(a).cloned().into_iter().collect(),
        },
    };
    if members.iter().any(|w| w.uid == source.uid) {
        return Ok(None);
    }
    members.retain(|w| w.health == Health::Healthy && !w.addresses.is_empty());
    if members.is_empty() {
        return Err(missing());
    }
    let w = &members[rand::random_range(0..members.len())];
    Ok(Some((
        SocketAddr::new(w.addresses[0], gateway.hbone_port),
        w.identity(),
    )))
}
