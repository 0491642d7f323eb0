//! Where outbound connections go.

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use support::{LEGACY, SECOND, SHOPPER, VIP, WEB, addr, uid, workload};
use warren_core::address::NetworkAddress;
use warren_core::balance::AffinityTable;
use warren_core::service::{PortMapping, Service, ServiceKey};
use warren_core::workload::{GatewayAddress, GatewayDestination, Health, Uid};
use warren_core::{Mesh, Workload};
use warren_hbone::Expect;
use warren_ztunnel::flow::route::{Asker, Hop, NoRoute, Route, route};
use warren_ztunnel::net::OriginalDestination;

fn key(name: &str) -> ServiceKey {
    ServiceKey {
        namespace: "shop".into(),
        hostname: format!("{name}.shop.svc.cluster.local").into(),
    }
}

fn service(name: &str, vip: &str) -> Service {
    Service {
        name: name.into(),
        namespace: "shop".into(),
        hostname: key(name).hostname,
        addresses: vec![NetworkAddress::local(vip.parse().unwrap())],
        ports: vec![PortMapping {
            service_port: 80,
            target_port: 8080,
        }],
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: Default::default(),
    }
}

fn member(name: &str, ip: &str, of: &str) -> Workload {
    let mut w = workload(name, ip, true);
    w.services.insert(
        key(of),
        vec![PortMapping {
            service_port: 80,
            target_port: 8080,
        }],
    );
    w
}

/// `web` and `second` behind a service, `legacy` outside the mesh.
fn mesh() -> Mesh {
    let mut m = Mesh::default();
    for w in [
        member("web", WEB, "web"),
        member("second", SECOND, "web"),
        workload("legacy", LEGACY, false),
    ] {
        let _ = m.upsert_workload(w);
    }
    let _ = m.upsert_workload(workload("shopper", SHOPPER, true));
    let _ = m.upsert_service(service("web", VIP));
    m
}

fn ask(
    m: &Mesh,
    asked: SocketAddr,
    backend: Option<SocketAddr>,
    tried: &[Uid],
) -> Result<Route, NoRoute> {
    let affinity = Mutex::new(AffinityTable::new(8));
    ask_with(m, OriginalDestination { asked, backend }, tried, &affinity)
}

fn ask_with(
    m: &Mesh,
    asked: OriginalDestination,
    tried: &[Uid],
    affinity: &Mutex<AffinityTable>,
) -> Result<Route, NoRoute> {
    let source = m.workload(&uid("shopper")).unwrap();
    route(
        m,
        &Asker {
            source,
            asked,
            tried,
            affinity,
        },
    )
}

fn hbone(ip: &str, port: u16, name: &str) -> Hop {
    Hop::Hbone {
        peer: addr(ip, 15008),
        authority: addr(ip, port),
        expect: Expect::one(workload(name, ip, true).identity()),
    }
}

#[test]
fn by_what_the_address_is() {
    let m = mesh();
    let hop = |to| ask(&m, to, None, &[]).unwrap().hop;
    assert_eq!(hop(addr(WEB, 9999)), hbone(WEB, 9999, "web"));
    assert_eq!(
        hop("[::ffff:10.7.0.1]:9999".parse().unwrap()),
        hbone(WEB, 9999, "web")
    );
    assert_eq!(hop(addr(LEGACY, 80)), Hop::Plain(addr(LEGACY, 80)));
    assert_eq!(
        hop(addr("192.0.2.1", 443)),
        Hop::Plain(addr("192.0.2.1", 443))
    );
    assert_eq!(hop(addr(SHOPPER, 80)), Hop::Own(addr(SHOPPER, 80)));
}

#[test]
fn a_service_is_spread_over_its_endpoints() {
    let m = mesh();
    let seen: HashSet<_> = (0..200)
        .map(|_| ask(&m, addr(VIP, 80), None, &[]).unwrap().address)
        .collect();
    assert_eq!(seen, HashSet::from([addr(WEB, 8080), addr(SECOND, 8080)]));
    let without = ask(&m, addr(VIP, 81), None, &[]);
    assert!(
        matches!(without, Err(NoRoute::NoEndpoint(_))),
        "{without:?}"
    );
}

#[test]
fn the_choice_of_the_kernel_holds_while_it_is_good() {
    let mut m = mesh();
    let backend = Some(addr(SECOND, 8080));
    for _ in 0..50 {
        let r = ask(&m, addr(VIP, 80), backend, &[]).unwrap();
        assert_eq!(
            (r.hop, r.service),
            (hbone(SECOND, 8080, "second"), Some(key("web")))
        );
        assert_eq!(
            ask(&m, addr(VIP, 80), backend, &[uid("second")])
                .unwrap()
                .address,
            addr(WEB, 8080)
        );
    }
    let mut unready = member("second", SECOND, "web");
    unready.health = Health::Unhealthy;
    let _ = m.upsert_workload(unready);
    assert_eq!(
        ask(&m, addr(VIP, 80), backend, &[]).unwrap().address,
        addr(WEB, 8080)
    );
}

#[test]
fn what_was_tried_comes_again_only_where_there_is_nothing_else() {
    let m = mesh();
    let both = [uid("web"), uid("second")];
    for _ in 0..50 {
        assert_eq!(
            ask(&m, addr(VIP, 80), None, &both[..1]).unwrap().address,
            addr(SECOND, 8080)
        );
    }
    assert!(ask(&m, addr(VIP, 80), None, &both).is_ok());
}

#[test]
fn a_client_with_affinity_keeps_its_endpoint() {
    let mut m = mesh();
    let mut sticky = service("web", VIP);
    sticky.load_balancing.client_ip_affinity = Some(std::time::Duration::from_secs(60));
    let _ = m.upsert_service(sticky);
    let affinity = Mutex::new(AffinityTable::new(8));
    let asked = OriginalDestination {
        asked: addr(VIP, 80),
        backend: None,
    };
    let seen: HashSet<_> = (0..50)
        .map(|_| ask_with(&m, asked, &[], &affinity).unwrap().address)
        .collect();
    assert_eq!(seen.len(), 1);
}

#[test]
fn names_of_a_service_are_expected_instead_of_its_endpoints() {
    let mut m = mesh();
    let mut named = service("web", VIP);
    named.subject_alt_names = vec!["spiffe://cluster.local/ns/shop/sa/front".into()];
    let _ = m.upsert_service(named);
    match ask(&m, addr(VIP, 80), None, &[]).unwrap().hop {
        Hop::Hbone {
            expect: Expect::OneOf(ids),
            ..
        } => assert_eq!(&*ids[0].service_account, "front"),
        other => panic!("{other:?}"),
    }
}

fn behind_waypoint(m: &mut Mesh) {
    let mut guarded = service("web", VIP);
    guarded.waypoint = Some(GatewayAddress {
        destination: GatewayDestination::Service(key("guard")),
        hbone_port: 15008,
    });
    let _ = m.upsert_service(guarded);
    let _ = m.upsert_service(service("guard", "10.7.9.2"));
}

#[test]
fn a_waypoint_is_taken_and_never_passed_by() {
    let mut m = mesh();
    behind_waypoint(&mut m);
    let missing = ask(&m, addr(VIP, 80), Some(addr(WEB, 8080)), &[]);
    assert!(
        matches!(missing, Err(NoRoute::NoWaypoint(_))),
        "{missing:?}"
    );
    let _ = m.upsert_workload(member("guard", "10.7.0.9", "guard"));
    let r = ask(&m, addr(VIP, 80), Some(addr(WEB, 8080)), &[]).unwrap();
    let expect = Expect::one(workload("guard", "10.7.0.9", true).identity());
    assert_eq!(
        r.hop,
        Hop::Hbone {
            peer: addr("10.7.0.9", 15008),
            authority: addr(VIP, 80),
            expect
        }
    );
    // The pods themselves are not behind it.
    assert_eq!(
        ask(&m, addr(WEB, 8080), None, &[]).unwrap().hop,
        hbone(WEB, 8080, "web")
    );
}

#[test]
fn a_waypoint_itself_goes_to_the_endpoints() {
    let mut m = mesh();
    behind_waypoint(&mut m);
    let _ = m.upsert_workload(member("shopper", SHOPPER, "guard"));
    let r = ask(&m, addr(VIP, 80), None, &[]).unwrap();
    assert!(
        [addr(WEB, 8080), addr(SECOND, 8080)].contains(&r.address),
        "{r:?}"
    );
}

#[test]
fn another_family_is_better_than_none() {
    let mut m = mesh();
    let mut six = service("web", VIP);
    six.addresses
        .push(NetworkAddress::local("fd00:9::1".parse().unwrap()));
    let _ = m.upsert_service(six);
    let r = ask(&m, addr("fd00:9::1", 80), None, &[]).unwrap();
    assert!(r.address.is_ipv4(), "{r:?}");
    let arc: Option<Arc<Workload>> = r.workload;
    assert!(arc.is_some());
}
