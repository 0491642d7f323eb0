//! Services, their endpoints, and EndpointSlices.

use std::time::Duration;

use warren_core::service::{BalanceMode, PortMapping, Scope, ServiceKey};
use warren_core::workload::Health;

use crate::support::model::{World, meshed, pod};

const WEB: &str = "shop/web.shop.svc.cluster.local";

fn service(spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: shop}}, spec: {{{spec}}}}}\n---\n"
    )
}

fn key(text: &str) -> ServiceKey {
    let (namespace, hostname) = text.split_once('/').expect("namespace/hostname");
    ServiceKey {
        namespace: namespace.into(),
        hostname: hostname.into(),
    }
}

/// Ports of the web Service on a pod, as (service port, target port).
fn ports(world: &World, pod: &str) -> Option<Vec<(u16, u16)>> {
    let ports = world.pod(pod).services.get(&key(WEB))?;
    Some(
        ports
            .iter()
            .map(
                |PortMapping {
                     service_port,
                     target_port,
                 }| (*service_port, *target_port),
            )
            .collect(),
    )
}

#[test]
fn membership_with_named_ports_per_pod() {
    let text = service(
        "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81}, {name: u, port: 53, protocol: UDP}]",
    );
    let pods = pod("shop", "w1", "web", "10.0.0.1", 8080)
        + &pod("shop", "w2", "web", "10.0.0.2", 9090)
        + &pod("shop", "db", "db", "10.0.0.3", 5432)
        + &pod("other", "w3", "web", "10.0.0.4", 8080);
    let mut world = World::new(&(text + &pods));
    assert_eq!(ports(&world, "shop/w1"), Some(vec![(80, 8080), (81, 81)]));
    assert_eq!(ports(&world, "shop/w2"), Some(vec![(80, 9090), (81, 81)]));
    assert_eq!(ports(&world, "shop/db"), None);
    assert!(
        world.pod("other/w3").services.is_empty(),
        "selectors stay in their namespace"
    );
    let s = &world.services[WEB];
    assert_eq!(
        s.addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["/10.96.0.1"]
    );
    assert_eq!(s.ports.len(), 2, "TCP only");

    // A pod that leaves the selector leaves the Service; a Service that changes its selector takes others.
    world.apply(&pod("shop", "w1", "old", "10.0.0.1", 8080));
    assert_eq!(ports(&world, "shop/w1"), None);
    world.apply(&service(
        "clusterIP: 10.96.0.1, selector: {app: db}, ports: [{port: 80, targetPort: http}]",
    ));
    assert_eq!(
        (ports(&world, "shop/w2"), ports(&world, "shop/db")),
        (None, Some(vec![(80, 5432)]))
    );
    world.delete(&service(""));
    assert!(world.services.is_empty() && world.pod("shop/db").services.is_empty());
}

#[test]
fn a_port_name_that_a_pod_lacks_is_named() {
    let text = service("selector: {app: web}, ports: [{port: 80, targetPort: grpc}]");
    let world = World::new(&(text + &pod("shop", "w1", "web", "10.0.0.1", 8080)));
    assert_eq!(ports(&world, "shop/w1"), Some(vec![(80, 0)]));
    assert!(
        world.warnings["Pod shop/w1"][0].contains("grpc"),
        "{:?}",
        world.warnings
    );
}

#[test]
fn balancing() {
    let of = |spec: &str| {
        let world = World::new(&service(&format!(
            "clusterIP: 10.96.0.1, selector: {{app: web}}, {spec}"
        )));
        world.services[WEB].load_balancing.clone()
    };
    let plain = of("ports: []");
    assert_eq!(
        (plain.mode, plain.allow_unhealthy, plain.client_ip_affinity),
        (BalanceMode::Any, false, None)
    );
    let local = of("internalTrafficPolicy: Local");
    assert_eq!(
        (local.mode, local.preference),
        (BalanceMode::Strict, vec![Scope::Node])
    );
    for name in ["PreferClose", "PreferSameZone"] {
        let close = of(&format!("trafficDistribution: {name}"));
        assert_eq!(
            (close.mode, close.preference.last()),
            (BalanceMode::Failover, Some(&Scope::Zone))
        );
    }
    let node = of("trafficDistribution: PreferSameNode");
    assert_eq!(
        (node.mode, node.preference.last()),
        (BalanceMode::Failover, Some(&Scope::Node))
    );
    assert_eq!(
        of("internalTrafficPolicy: Local, trafficDistribution: PreferClose").mode,
        BalanceMode::Strict
    );
    assert!(of("publishNotReadyAddresses: true").allow_unhealthy);
    assert_eq!(
        of("sessionAffinity: ClientIP").client_ip_affinity,
        Some(Duration::from_secs(10_800))
    );
    let custom =
        of("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}");
    assert_eq!(custom.client_ip_affinity, Some(Duration::from_secs(60)));
}

#[test]
fn kinds_of_addresses() {
    let addresses = |spec: &str| {
        let world = World::new(&service(spec));
        world.services.get(WEB).map(|s| {
            s.addresses
                .iter()
                .map(|a| a.ip.to_string())
                .collect::<Vec<_>>()
        })
    };
    let dual =
        "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, \"fd00:96::1\"], selector: {app: web}";
    assert_eq!(
        addresses(dual),
        Some(vec!["10.96.0.1".into(), "fd00:96::1".into()])
    );
    assert_eq!(
        addresses("clusterIP: None, selector: {app: web}"),
        Some(Vec::new())
    );
    assert_eq!(
        addresses("type: ExternalName, externalName: example.org"),
        None
    );
}

fn slice(name: &str, ip: &str, port: u16) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}, \
         ports: [{{name: p, port: {port}}}], endpoints: [{{addresses: [\"{ip}\"], nodeName: b, zone: z9, \
         conditions: {{ready: true}}}}]}}\n---\n"
    )
}

#[test]
fn endpoint_slices_of_services_without_a_selector() {
    let text = service("clusterIP: 10.96.0.1, ports: [{name: p, port: 80}]");
    let mut world = World::new(&(text.clone() + &slice("s1", "172.16.0.1", 3306)));
    let uid = "Kubernetes/discovery.k8s.io/EndpointSlice/shop/172.16.0.1";
    let w = &world.workloads[uid];
    assert_eq!(
        w.services[&key(WEB)],
        [PortMapping {
            service_port: 80,
            target_port: 3306
        }]
    );
    assert_eq!(
        (w.health, &*w.node, &*w.locality.zone),
        (Health::Healthy, "b", "z9")
    );
    assert!(!w.is_enrolled());

    // An address that turns out to be a pod's is that pod, wherever it lives; and the other way round.
    world.apply(&(meshed("shop") + &pod("shop", "p", "p", "172.16.0.1", 3306)));
    assert!(!world.workloads.contains_key(uid));
    assert_eq!(ports(&world, "shop/p"), Some(vec![(80, 3306)]));
    world.delete(&pod("shop", "p", "p", "172.16.0.1", 3306));
    assert!(world.workloads.contains_key(uid));

    // A selector makes slices void.
    world.apply(&service(
        "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: p, port: 80}]",
    ));
    assert!(world.workloads.is_empty());
    world.apply(&text);
    world.delete(&slice("s1", "172.16.0.1", 3306));
    assert!(world.workloads.is_empty());
}

#[test]
fn two_slices_share_an_address() {
    let text = service("clusterIP: 10.96.0.1, ports: [{name: p, port: 80}]");
    let mut world =
        World::new(&(text + &slice("s1", "172.16.0.1", 1) + &slice("s2", "172.16.0.1", 2)));
    let uid = "Kubernetes/discovery.k8s.io/EndpointSlice/shop/172.16.0.1";
    assert_eq!(world.workloads[uid].services[&key(WEB)].len(), 2);
    world.delete(&slice("s1", "172.16.0.1", 1));
    assert_eq!(
        world.workloads[uid].services[&key(WEB)],
        [PortMapping {
            service_port: 80,
            target_port: 2
        }]
    );
}
