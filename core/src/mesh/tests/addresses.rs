//! Who is at an address.

use super::*;

const IP: &str = "10.0.0.1";

fn holder(mesh: &Mesh) -> Option<String> {
    mesh.workload_by_ip(ip(IP)).map(|w| w.uid.to_string())
}

/// Each step is an upsert, or a removal where it starts with `-`; `!` is unhealthy. The last part is who holds the address.
#[test]
#[rustfmt::skip]
fn the_last_healthy_claim_holds_an_address() {
    for (steps, expected) in [
        ("a",             "a"),
        ("a b",           "b"), // b was given the address of a, whose node crashed
        ("a b -b",        "a"),
        ("a b -a",        "b"),
        ("a b -a -b",     ""),
        ("a !b",          "a"), // b is not ready yet
        ("a !b b",        "b"),
        ("!a !b",         "b"), // nobody is healthy: the last one
        ("!a !b a",       "a"), // became healthy last
        ("a b a",         "b"), // an update of a is no new claim
        ("a b !a",        "b"),
        ("a b !a a",      "a"), // back from the dead
        ("a b !b",        "a"),
        ("a b c -c",      "b"),
        ("a b c -b -c",   "a"),
        ("a b c !c -b",   "a"),
        ("!a",            "a"), // alone: known, though not ready
    ] {
        let mut mesh = Mesh::default();
        for step in steps.split(' ') {
            match step.split_at(1) {
                ("-", name) => drop(mesh.remove_workload(&name.into())),
                ("!", name) => drop(mesh.upsert_workload(sick(name, IP))),
                _ => drop(mesh.upsert_workload(pod(step, IP))),
            }
        }
        assert_eq!(holder(&mesh).unwrap_or_default(), expected, "after {steps}");
    }
}

#[test]
fn an_address_that_moves_leaves_its_old_place() {
    let mut mesh = Mesh::default();
    mesh.upsert_workload(pod("a", IP));
    mesh.upsert_workload(pod("a", "10.0.0.2"));
    assert_eq!(holder(&mesh), None);
    assert!(mesh.workload_by_ip(ip("10.0.0.2")).is_some());
    mesh.upsert_workload(Workload {
        network: "west".into(),
        ..pod("a", "10.0.0.2")
    });
    assert!(mesh.workload_by_ip(ip("10.0.0.2")).is_none());
    mesh.remove_workload(&"a".into());
    assert!(mesh.is_clean());
}

#[test]
fn mapped_addresses_are_found_either_way() {
    let mut mesh = Mesh::default();
    mesh.upsert_workload(pod("a", "::ffff:10.0.0.1"));
    assert_eq!(holder(&mesh).as_deref(), Some("a"));
    assert!(mesh.workload_by_ip(ip("::ffff:10.0.0.1")).is_some());
    assert_eq!(
        mesh.workload_by_address(&NetworkAddress::local(ip(IP)))
            .unwrap()
            .uid,
        "a".into()
    );
}

#[test]
fn host_network_workloads_are_their_node_and_nobody() {
    let mut mesh = Mesh::default();
    let host = |name: &str| Workload {
        host_network: true,
        node: "n1".into(),
        ..pod(name, IP)
    };
    mesh.upsert_workload(host("proxy"));
    mesh.upsert_workload(host("cni"));
    assert_eq!(holder(&mesh), None);
    assert_eq!(mesh.source(ip(IP)), Source::Node(&"n1".into()));
    assert_eq!(mesh.target(ip(IP)), None);
    assert_eq!(mesh.source(ip("10.9.9.9")), Source::Unknown);
    mesh.upsert_workload(pod("proxy", IP));
    assert_eq!(
        mesh.source(ip(IP)),
        Source::Workload(mesh.workload(&"proxy".into()).unwrap())
    );
    mesh.remove_workload(&"proxy".into());
    mesh.remove_workload(&"cni".into());
    assert!(mesh.is_clean());
}

#[test]
fn nobody_is_at_loopback_or_nowhere() {
    let mut mesh = Mesh::default();
    for address in ["127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
        mesh.upsert_workload(pod("a", address));
        assert!(mesh.workload_by_ip(ip(address)).is_none(), "{address}");
    }
}

#[test]
fn networks_have_addresses_of_their_own() {
    let mut mesh = Mesh::on_network("east");
    mesh.upsert_workload(Workload {
        network: "east".into(),
        ..pod("here", IP)
    });
    mesh.upsert_workload(Workload {
        network: "west".into(),
        ..pod("there", IP)
    });
    assert_eq!(holder(&mesh).as_deref(), Some("here"));
    let there = NetworkAddress::new("west", ip(IP));
    assert_eq!(
        mesh.workload_by_address(&there).unwrap().uid,
        "there".into()
    );
    assert!(
        mesh.workload_by_address(&NetworkAddress::local(ip(IP)))
            .is_none()
    );
    assert_eq!(&**mesh.network(), "east");
}

#[test]
fn services_are_found_by_name_and_address_but_not_before_a_workload() {
    let mut mesh = Mesh::default();
    let service = |ns: &str, vips: &[&str]| Service {
        addresses: vips.iter().map(|v| NetworkAddress::local(ip(v))).collect(),
        ..Service::new(ns, "web", "web.example")
    };
    mesh.upsert_service(service("shop", &["10.96.0.1", "fd00::1"]));
    mesh.upsert_service(service("bank", &["10.96.0.2"]));
    let namespaces: Vec<_> = mesh
        .services_by_hostname("web.example")
        .map(|s| s.namespace.clone())
        .collect();
    assert_eq!(namespaces, ["bank".into(), "shop".into()]);
    assert_eq!(
        &*mesh.service_by_ip(ip("fd00::1")).unwrap().namespace,
        "shop"
    );
    mesh.upsert_service(service("shop", &["10.96.0.1", IP]));
    assert!(mesh.service_by_ip(ip("fd00::1")).is_none());
    assert!(matches!(mesh.target(ip(IP)), Some(Target::Service(_))));
    mesh.upsert_workload(pod("a", IP));
    assert!(matches!(mesh.target(ip(IP)), Some(Target::Workload(_))));
    mesh.remove_workload(&"a".into());
    for namespace in ["shop", "bank"] {
        mesh.remove_service(&ServiceKey::new(namespace, "web.example"));
    }
    assert!(mesh.is_clean());
}

#[test]
fn endpoints_may_be_known_before_their_service_and_after_it() {
    let mut mesh = Mesh::default();
    let web = ServiceKey::new("shop", "web.example");
    let backing = |name: &str, address: &str| Workload {
        services: [(web.clone(), Vec::new())].into(),
        node: "n1".into(),
        ..pod(name, address)
    };
    mesh.upsert_workload(backing("b", "10.0.0.2"));
    mesh.upsert_workload(backing("a", "10.0.0.1"));
    mesh.upsert_service(Service::new("shop", "web", "web.example"));
    let uids = |mesh: &Mesh| {
        mesh.endpoints(&web)
            .map(|w| w.uid.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(uids(&mesh), ["a", "b"]);
    assert_eq!(mesh.workloads_on("n1").count(), 2);
    mesh.remove_service(&web);
    assert_eq!(uids(&mesh), ["a", "b"]);
    mesh.upsert_workload(pod("a", "10.0.0.1"));
    assert_eq!(uids(&mesh), ["b"]);
    assert_eq!(
        (
            mesh.workloads_on("n1").count(),
            mesh.workloads_on("n2").count()
        ),
        (1, 0)
    );
}
