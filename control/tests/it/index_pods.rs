//! Pods to workloads.

use std::net::IpAddr;

use warren_control::index::Config;
use warren_control::source::decode::decode;
use warren_control::source::dir::document::parse;
use warren_core::workload::{Health, TunnelProtocol, WorkloadKind};

use crate::support::model::{World, meshed, pod};

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: web-5d4f8c7b9-x2x4z
  namespace: shop
  labels: {app: web, app.kubernetes.io/name: front, app.kubernetes.io/version: v7, pod-template-hash: 5d4f8c7b9}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d4f8c7b9, uid: u, controller: true}]
spec:
  nodeName: a
  serviceAccountName: web
  initContainers:
  - {name: side, image: i, restartPolicy: Always, ports: [{name: metrics, containerPort: 9090}]}
  - {name: once, image: i, ports: [{name: never, containerPort: 7777}]}
  containers:
  - name: c
    image: i
    ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]
    readinessProbe: {httpGet: {port: http}}
    livenessProbe: {tcpSocket: {port: 8081}}
    startupProbe: {grpc: {port: 8082}}
  - name: d
    image: i
    livenessProbe: {httpGet: {port: metrics}}
    readinessProbe: {exec: {command: [\"true\"]}}
status:
  phase: Running
  hostIP: 192.168.0.1
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: \"fd00::1\"}]
  conditions: [{type: Ready, status: \"True\"}]
";
const NODE: &str = "apiVersion: v1
kind: Node
metadata:
  name: a
  labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1, topology.warren.dev/subzone: rack7}
";

#[test]
fn a_pod_with_everything() {
    let mut world = World::new(POD);
    world.apply(NODE);
    world.apply(&meshed("shop"));
    let w = world.pod("shop/web-5d4f8c7b9-x2x4z");
    assert_eq!(
        w.addresses,
        ["10.0.0.1", "fd00::1"].map(|a| a.parse::<IpAddr>().expect("address"))
    );
    assert_eq!(
        (&*w.service_account, &*w.node, &*w.trust_domain),
        ("web", "a", "cluster.local")
    );
    assert_eq!(
        (&*w.canonical_name, &*w.canonical_revision),
        ("front", "v7")
    );
    assert_eq!(
        (&*w.workload_name, w.kind),
        ("web", WorkloadKind::Deployment)
    );
    assert_eq!(
        (&*w.locality.region, &*w.locality.zone, &*w.locality.subzone),
        ("r1", "z1", "rack7")
    );
    assert_eq!(w.probe_ports, [8080, 8081, 8082, 9090]);
    assert_eq!(
        (w.health, w.protocol, w.capacity),
        (Health::Healthy, TunnelProtocol::Hbone, 1)
    );
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
}

/// Hooks are calls of the kubelet's as probes are; it knows no hook by `tcpSocket`, though the API takes one.
#[test]
fn ports_of_lifecycle_hooks_are_the_kubelets_too() {
    let of = |hooks: &str| {
        let lifecycle = format!("lifecycle: {{{hooks}}}");
        let pod = POD.replace("livenessProbe: {httpGet: {port: metrics}}", &lifecycle);
        let world = World::new(&pod);
        world.pod("shop/web-5d4f8c7b9-x2x4z").probe_ports.clone()
    };
    let probes = [8080, 8081, 8082];
    let with = |hook: u16| [&probes[..], &[hook]].concat();
    assert_eq!(of("postStart: {httpGet: {port: 8083}}"), with(8083));
    assert_eq!(of("preStop: {httpGet: {port: metrics}}"), with(9090));
    assert_eq!(of("preStop: {tcpSocket: {port: 8083}}"), probes);
    assert_eq!(of("preStop: {exec: {command: [\"true\"]}}"), probes);
}

#[test]
fn enrolment() {
    let with = |namespace: &str, label: &str| {
        let plain = pod("shop", "p", "p", "10.0.0.1", 80);
        let labelled = plain.replace("labels: {", &format!("labels: {{{label}"));
        let ns = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{{namespace}}}}}}}\n---\n"
        );
        World::new(&(ns + &labelled)).pod("shop/p").protocol
    };
    let enabled = "warren.dev/mesh: enabled";
    let (yes, no) = (TunnelProtocol::Hbone, TunnelProtocol::None);
    assert_eq!(with("", ""), no);
    assert_eq!(with(enabled, ""), yes);
    assert_eq!(with("", "warren.dev/mesh: enabled, "), yes);
    assert_eq!(with(enabled, "warren.dev/mesh: disabled, "), no);
    assert_eq!(
        with("warren.dev/mesh: disabled", "warren.dev/mesh: enabled, "),
        yes
    );
}

#[test]
fn a_mesh_that_leaves_lets_every_pod_go() {
    let leaving = Config {
        leaving: true,
        ..Config::default()
    };
    let mut world = World::with(leaving, &pod("shop", "a", "a", "10.0.0.1", 80));
    world.apply(&meshed("shop"));
    assert!(!world.pod("shop/a").is_enrolled());
}

#[test]
fn a_pod_is_not_known_before_its_namespace_is_where_that_is_to_come() {
    let comes = Config {
        namespaces_come: true,
        ..Config::default()
    };
    let undecided = pod("shop", "a", "a", "10.0.0.1", 80);
    let decided = pod("shop", "b", "b", "10.0.0.2", 80)
        .replace("labels: {", "labels: {warren.dev/mesh: enabled, ");
    let mut world = World::with(comes, &(undecided + &decided));
    assert!(!world.workloads.contains_key("Kubernetes//Pod/shop/a"));
    assert!(world.pod("shop/b").is_enrolled());
    world.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    assert!(
        !world.pod("shop/a").is_enrolled(),
        "its namespace does not say"
    );
    world.apply(&meshed("shop"));
    assert!(world.pod("shop/a").is_enrolled());
}

#[test]
fn labelling_a_running_namespace_changes_its_pods_and_nothing_else() {
    let mut world = World::new(
        &(pod("shop", "a", "a", "10.0.0.1", 80) + &pod("other", "b", "b", "10.0.0.2", 80)),
    );
    let delta = world.apply(&meshed("shop"));
    assert_eq!(
        (
            delta.workloads.len(),
            delta.services.len(),
            delta.policies.len()
        ),
        (1, 0, 0)
    );
    assert!(world.pod("shop/a").is_enrolled() && !world.pod("other/b").is_enrolled());
    world.delete(&meshed("shop"));
    assert!(!world.pod("shop/a").is_enrolled());
}

/// An address is the last thing that a pod gets before it starts, and it gets it from a plugin that waits for the mesh.
#[test]
fn a_pod_is_known_as_soon_as_it_has_a_node() {
    let whole = pod("shop", "p", "p", "10.0.0.1", 80);
    let placed = whole.split("status:").next().expect("spec").to_owned();
    let mut world = World::new(&(meshed("shop") + &placed.replace("  nodeName: a\n", "")));
    assert!(!world.workloads.contains_key("Kubernetes//Pod/shop/p"));
    world.apply(&placed);
    let w = world.pod("shop/p");
    assert!(w.is_enrolled() && w.addresses.is_empty() && w.health == Health::Unhealthy);
    world.apply(&whole);
    let w = world.pod("shop/p");
    assert_eq!((w.addresses.len(), w.health), (1, Health::Healthy));
    world.delete(&whole);
    assert!(!world.workloads.contains_key("Kubernetes//Pod/shop/p"));
}

#[test]
fn host_network_pods_are_known_and_never_captured() {
    let text = pod("shop", "p", "p", "192.168.0.1", 80)
        .replace("labels: {", "labels: {warren.dev/mesh: enabled, ")
        .replace("  nodeName", "  hostNetwork: true\n  nodeName");
    let world = World::new(&text);
    let w = world.pod("shop/p");
    assert!(w.host_network && !w.is_enrolled());
    assert!(
        world.warnings["Pod shop/p"][0].contains("host network"),
        "{:?}",
        world.warnings
    );
}

#[test]
fn health_follows_readiness_and_deletion() {
    let ready = pod("shop", "p", "p", "10.0.0.1", 80);
    let mut world = World::new(&ready);
    let mut health = |text: &str| {
        world.apply(text);
        world.pod("shop/p").health
    };
    assert_eq!(health(&ready), Health::Healthy);
    assert_eq!(
        health(&ready.replace("status: \"True\"", "status: \"False\"")),
        Health::Unhealthy
    );
    let deleted = ready.replace(
        "name: p, ",
        "name: p, deletionTimestamp: \"2026-01-01T00:00:00Z\", ",
    );
    assert_eq!(health(&deleted), Health::Unhealthy);
    for phase in ["Succeeded", "Failed"] {
        world.apply(&ready);
        let delta = world.apply(&ready.replace("phase: Running", &format!("phase: {phase}")));
        assert!(
            matches!(delta.workloads.as_slice(), [(_, None)]),
            "{phase}: {delta:?}"
        );
    }
}

#[test]
fn mapped_addresses_are_plain_ones() {
    let world = World::new(&pod("shop", "p", "p", "::ffff:10.0.0.1", 80));
    assert_eq!(
        world.pod("shop/p").addresses,
        ["10.0.0.1".parse::<IpAddr>().expect("address")]
    );
}

#[test]
fn owners() {
    let cases = [
        (
            "kind: ReplicaSet, name: web-abc",
            "web",
            WorkloadKind::Deployment,
        ),
        (
            "kind: Deployment, name: web",
            "web",
            WorkloadKind::Deployment,
        ),
        ("kind: Job, name: once", "once", WorkloadKind::Job),
        (
            "kind: Job, name: nightly-29000000",
            "nightly",
            WorkloadKind::CronJob,
        ),
        ("kind: StatefulSet, name: db", "db", WorkloadKind::Pod),
        ("kind: DaemonSet, name: log", "log", WorkloadKind::Pod),
    ];
    for (owner, name, kind) in cases {
        let text = pod("shop", "p", "p", "10.0.0.1", 80).replace(
            "labels: {app: p}",
            &format!("ownerReferences: [{{apiVersion: v1, uid: u, {owner}}}]"),
        );
        let world = World::new(&text);
        let w = world.pod("shop/p");
        assert_eq!(
            (&*w.workload_name, w.kind, &*w.canonical_name),
            (name, kind, name),
            "{owner}"
        );
    }
    let world = World::new(&pod("shop", "p", "front", "10.0.0.1", 80));
    let w = world.pod("shop/p");
    assert_eq!(
        (&*w.workload_name, w.kind, &*w.canonical_name),
        ("p", WorkloadKind::Pod, "front")
    );
    assert_eq!(&*w.canonical_revision, "latest");
}

#[test]
fn direct_flows_can_be_turned_off() {
    let cases = [
        ("", "", false),
        ("warren.dev/direct-flows: \"off\"", "", true),
        ("", "warren.dev/direct-flows: \"off\", ", true),
        (
            "warren.dev/direct-flows: \"off\"",
            "warren.dev/direct-flows: \"on\", ",
            false,
        ),
        ("warren.dev/encryption: required", "", true),
        ("", "warren.dev/encryption: required, ", true),
        (
            "warren.dev/encryption: required",
            "warren.dev/direct-flows: \"on\", ",
            true,
        ),
    ];
    for (namespace, label, off) in cases {
        for field in ["labels", "annotations"] {
            let ns = format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, {field}: {{{namespace}}}}}}}"
            );
            let p = pod("shop", "p", "p", "10.0.0.1", 80);
            let p = match field {
                "labels" => p.replace("labels: {", &format!("labels: {{{label}")),
                _ => p.replace(
                    "labels: {",
                    &format!("annotations: {{{label}}}, labels: {{"),
                ),
            };
            let world = World::new(&format!("{ns}\n---\n{p}"));
            assert_eq!(
                world.pod("shop/p").direct_flows_off,
                off,
                "{field} {namespace} / {label}"
            );
        }
    }
}

/// An agent that hears nothing more has to know for which pods a namespace speaks.
#[test]
fn a_pod_with_a_label_of_its_own_does_not_speak_for_its_namespace() {
    for (label, own) in [
        ("", false),
        ("warren.dev/mesh: disabled, ", true),
        ("warren.dev/mesh: enabled, ", true),
        ("warren.dev/mesh: \"yes\", ", false),
    ] {
        let text = pod("shop", "p", "p", "10.0.0.1", 80)
            .replace("labels: {", &format!("labels: {{{label}"));
        let world = World::new(&text);
        assert_eq!(world.pod("shop/p").mesh_by_pod, own, "{label}");
    }
}

#[test]
fn labels_without_a_meaning_are_named() {
    let text = pod("shop", "p", "p", "10.0.0.1", 80).replace(
        "labels: {",
        "labels: {warren.dev/mesh: \"yes\", warren.dev/waypoint: gate, ",
    );
    let world = World::new(&text);
    let warnings = world.warnings["Pod shop/p"].join("\n");
    assert!(
        warnings.contains("warren.dev/mesh: `yes`") && warnings.contains("waypoint"),
        "{warnings}"
    );
}

#[test]
fn two_pods_with_one_address_are_named_until_one_goes() {
    let (a, b) = (
        pod("shop", "a", "a", "10.0.0.1", 80),
        pod("shop", "b", "b", "10.0.0.1", 80),
    );
    let mut world = World::new(&(a.clone() + &b));
    assert_eq!(world.warnings.len(), 2, "{:?}", world.warnings);
    world.delete(&a);
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
}

/// As kube-proxy does it: pods that are going and still serve are better than none.
#[test]
fn draining_pods_are_a_services_last_resort() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}}";
    let stays = pod("shop", "stays", "web", "10.0.0.1", 80);
    let goes = pod("shop", "goes", "web", "10.0.0.2", 80);
    let going = goes.replace(
        "labels:",
        "deletionTimestamp: \"2026-01-01T00:00:00Z\", labels:",
    );
    let not_ready = |yaml: &str| yaml.replace("status: \"True\"", "status: \"False\"");
    let mut world = World::new(&[&*stays, &*goes, service].concat());
    let health = |world: &World| world.pod("shop/goes").health;
    assert_eq!(health(&world), Health::Healthy);
    world.apply(&going);
    assert_eq!(health(&world), Health::Unhealthy, "the other one is there");
    world.apply(&not_ready(&stays));
    assert_eq!(health(&world), Health::Healthy, "nobody else is");
    world.apply(&not_ready(&going));
    assert_eq!(health(&world), Health::Unhealthy, "it serves no longer");
    world.apply(&going);
    assert_eq!(health(&world), Health::Healthy);
    world.apply(&stays);
    assert_eq!(health(&world), Health::Unhealthy, "the other one is back");
    world.delete(&stays);
    assert_eq!(health(&world), Health::Healthy, "the other one is gone");
    world.delete(service);
    assert_eq!(health(&world), Health::Unhealthy, "it is nobody's resort");
}

#[test]
fn a_pod_that_runs_without_an_address_is_told() {
    let without = |phase: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: shop}}, spec: {{containers: []}}, status: {{phase: {phase}}}}}"
        )
    };
    for (phase, expected) in [("Pending", 0), ("Running", 1), ("Succeeded", 0)] {
        let value = parse(&without(phase), false).0.remove(0).value;
        let notes = decode(value).expect("good").notes;
        assert_eq!(notes.len(), expected, "{phase}: {notes:?}");
        assert!(notes.iter().all(|n| n.reason.contains("has no address")));
    }
}
