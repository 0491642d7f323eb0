//! What the kernel is told of services.

use std::collections::BTreeMap;

use warren_abi::{
    ANY_OTHER_PORT, BackendKey, SERVICE_KEEP_VIP, SERVICE_REFUSE, ServiceAddr, ServiceEntry,
};
use warren_core::address::NetworkAddress;
use warren_core::service::{BalanceMode, LoadBalancing, PortMapping, Scope};

use super::*;
use crate::bpf::Existing;

fn service() -> Service {
    Service {
        name: "web".into(),
        namespace: "shop".into(),
        hostname: "web.shop.svc.cluster.local".into(),
        addresses: vec![NetworkAddress::local("10.96.0.1".parse().unwrap())],
        ports: vec![PortMapping {
            service_port: 80,
            target_port: 8080,
        }],
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: LoadBalancing::default(),
    }
}

fn backend(name: &str, ip: &str) -> Workload {
    let mut workload = workload(name, ip);
    workload.services = BTreeMap::from([(service().key(), Vec::new())]);
    workload
}

fn address() -> ServiceAddr {
    ServiceAddr {
        ip: "10.96.0.1".parse::<std::net::IpAddr>().unwrap().into(),
        port: 80,
        reserved: 0,
    }
}

fn entry(rig: &Rig) -> ServiceEntry {
    rig.node.kernel.services[&address()]
}

fn addresses(rig: &Rig) -> Vec<String> {
    let entry = entry(rig);
    let one = |index| {
        let key = BackendKey {
            service: entry.service,
            epoch: entry.epoch,
            index,
        };
        let backend = rig.node.kernel.backends[&key];
        format!("{}:{}", std::net::IpAddr::from(backend.ip), backend.port)
    };
    (0..entry.count).map(one).collect()
}

#[test]
fn a_change_writes_a_new_epoch_and_removes_the_old_one_later() {
    let mut rig = Rig::new();
    rig.workloads(vec![backend("a", "10.0.0.1")]);
    rig.service(service());
    assert_eq!(addresses(&rig), ["10.0.0.1:8080"]);
    let first = entry(&rig);
    rig.workloads(vec![backend("b", "10.0.0.2")]);
    assert_eq!(addresses(&rig), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(
        (entry(&rig).service, entry(&rig).epoch),
        (first.service, first.epoch + 1)
    );
    let old = BackendKey {
        service: first.service,
        epoch: first.epoch,
        index: 0,
    };
    assert!(
        rig.node.kernel.backends.contains_key(&old),
        "a program may be reading it"
    );
    rig.pass(Duration::from_secs(2));
    assert!(!rig.node.kernel.backends.contains_key(&old));
    assert_eq!(rig.node.kernel.backends.len(), 2);
}

#[test]
fn the_nodes_zone_counts_though_it_has_no_region() {
    let mut rig = Rig::new();
    let in_zone = |name: &str, ip: &str, node: &str, zone: &str| {
        let mut backend = backend(name, ip);
        (backend.node, backend.locality.zone) = (node.into(), zone.into());
        backend
    };
    rig.workloads(vec![
        in_zone("a", "10.0.0.1", "n1", "z1"),
        in_zone("b", "10.0.0.2", "n2", "z1"),
        in_zone("c", "10.0.0.3", "n3", "z2"),
    ]);
    let mut service = service();
    service.load_balancing = LoadBalancing {
        mode: BalanceMode::Failover,
        preference: vec![Scope::Network, Scope::Region, Scope::Zone],
        ..LoadBalancing::default()
    };
    rig.service(service);
    assert_eq!(addresses(&rig), ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn what_did_not_change_is_not_written() {
    let mut rig = Rig::new();
    rig.workloads(vec![backend("a", "10.0.0.1")]);
    rig.service(service());
    rig.node.kernel.journal.clear();
    let mut other = backend("a", "10.0.0.1");
    other.canonical_revision = "v2".into();
    rig.workloads(vec![other]);
    assert!(
        rig.node.kernel.journal.is_empty(),
        "{:?}",
        rig.node.kernel.journal
    );
}

#[test]
fn without_endpoints_connections_are_refused() {
    let mut rig = Rig::new();
    rig.service(service());
    assert_eq!(entry(&rig).flags, SERVICE_REFUSE);
    let mut unready = backend("a", "10.0.0.1");
    unready.health = warren_core::workload::Health::Unhealthy;
    rig.workloads(vec![unready]);
    assert_eq!(entry(&rig).flags, SERVICE_REFUSE);
    rig.workloads(vec![backend("a", "10.0.0.1")]);
    assert_eq!((entry(&rig).flags, entry(&rig).count), (0, 1));
}

#[test]
fn ports_that_a_service_does_not_have_are_refused() {
    let mut rig = Rig::new();
    rig.workloads(vec![backend("a", "10.0.0.1")]);
    rig.service(service());
    let other = ServiceAddr {
        port: ANY_OTHER_PORT,
        ..address()
    };
    assert_eq!(rig.node.kernel.services[&other].flags, SERVICE_REFUSE);
    assert_eq!(entry(&rig).flags, 0);
}

#[test]
fn what_the_kernel_cannot_do_justice_to_is_left_to_the_tunnel() {
    let mut rig = Rig::new();
    rig.workloads(vec![backend("a", "10.0.0.1")]);
    rig.service(service());
    let mut sticky = service();
    sticky.load_balancing.client_ip_affinity = Some(Duration::from_secs(60));
    rig.service(sticky);
    assert_eq!(
        (entry(&rig).flags, entry(&rig).count),
        (SERVICE_KEEP_VIP, 0)
    );
    rig.service(service());
    assert_eq!((entry(&rig).flags, entry(&rig).count), (0, 1));
    let key = service().key();
    rig.xds(Update {
        removed_services: vec![key],
        ..Update::default()
    });
    assert!(rig.node.kernel.services.is_empty());
}

#[test]
fn an_address_that_passes_to_another_service_stays_with_it() {
    let mut rig = Rig::new();
    rig.service(service());
    rig.workloads(vec![backend("a", "10.0.1.1")]);
    let mut heir = service();
    // Looked at before the one that it inherits from.
    (heir.name, heir.hostname) = ("api".into(), "api.shop.svc.cluster.local".into());
    rig.xds(Update {
        services: vec![Arc::new(heir)],
        removed_services: vec![service().key()],
        ..Update::default()
    });
    assert!(rig.node.kernel.services.contains_key(&address()));
}

#[test]
fn a_full_map_leaves_the_service_to_the_tunnel() {
    let mut rig = Rig::new();
    rig.node.kernel.room = Some(1);
    rig.workloads(vec![backend("a", "10.0.0.1"), backend("b", "10.0.0.2")]);
    rig.service(service());
    assert!(rig.node.kernel.services.is_empty());
    rig.pass(Duration::from_secs(2));
    assert!(rig.node.kernel.backends.is_empty());
}

#[test]
fn nothing_is_told_before_everything_has_arrived_and_leftovers_go_then() {
    let stale = ServiceAddr {
        port: 81,
        ..address()
    };
    let left = |address| {
        (
            address,
            ServiceEntry {
                service: 5,
                epoch: 3,
                count: 1,
                flags: 0,
            },
        )
    };
    let existing = Existing {
        services: vec![
            left(address()),
            (
                stale,
                ServiceEntry {
                    service: 6,
                    epoch: 0,
                    count: 1,
                    flags: 0,
                },
            ),
        ],
        ..Existing::default()
    };
    let mut rig = Rig::with(Leftover {
        existing,
        ..Leftover::default()
    });
    rig.xds(Update {
        services: vec![Arc::new(service())],
        ..Update::default()
    });
    assert!(
        rig.node.kernel.services.is_empty(),
        "endpoints may be on their way"
    );
    rig.workloads(vec![backend("a", "10.0.0.1")]);
    rig.xds(Update {
        addresses_synced: true,
        ..Update::default()
    });
    assert_eq!(
        (entry(&rig).service, entry(&rig).epoch),
        (5, 4),
        "the number is kept"
    );
    assert!(
        rig.node.kernel.journal.contains(&"remove_service"),
        "the stale one is gone"
    );
}
