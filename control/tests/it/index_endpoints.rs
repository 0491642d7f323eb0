//! Endpoints of Services without a selector: what an EndpointSlice can say, and what it cannot take away.

use warren_core::Workload;
use warren_core::workload::Health;

use crate::support::model::{World, meshed, pod};

const OUTSIDE: &str = "172.16.0.1";

fn service(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{ports: [{{name: p, port: 80}}], {spec}}}}}\n---\n"
    )
}

/// A slice of `shop` for `service`, with one address.
fn slice(service: &str, ip: &str, ready: bool) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {{name: {service}-1, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}, \
         ports: [{{name: p, port: 8080}}], endpoints: [{{addresses: [\"{ip}\"], conditions: {{ready: {ready}}}}}]}}\n---\n"
    )
}

fn endpoint<'a>(world: &'a World, ip: &str) -> Option<&'a Workload> {
    let uid = format!("Kubernetes/discovery.k8s.io/EndpointSlice/shop/{ip}");
    world.workloads.get(&uid).map(|w| &**w)
}

/// Names of the Services that a workload backs.
fn backs(w: &Workload) -> Vec<String> {
    let name = |host: &str| host.split('.').next().unwrap_or_default().to_owned();
    w.services.keys().map(|k| name(&k.hostname)).collect()
}

#[test]
fn a_services_address_is_nobodys_endpoint() {
    let victim = service("bank", "vault", "clusterIP: 10.96.0.9, selector: {app: v}");
    let mine = service("shop", "mine", "clusterIP: 10.96.0.1");
    let listed = slice("mine", "10.96.0.9", true);
    for texts in [
        [&victim, &mine, &listed],
        [&listed, &mine, &victim],
        [&mine, &listed, &victim],
    ] {
        let mut world = World::new("");
        for text in texts {
            world.apply(text);
        }
        assert!(endpoint(&world, "10.96.0.9").is_none(), "{texts:?}");
        let said = &world.warnings["EndpointSlice shop/mine-1"];
        assert!(
            said[0].contains("10.96.0.9") && said[0].contains("Service bank/vault"),
            "{said:?}"
        );

        // The address is free again.
        world.delete(&victim);
        assert!(endpoint(&world, "10.96.0.9").is_some());
        assert!(world.warnings.is_empty(), "{:?}", world.warnings);
        world.apply(&victim);
        assert!(endpoint(&world, "10.96.0.9").is_none());
        world.apply(&service("bank", "vault", "clusterIP: 10.96.0.8"));
        assert!(endpoint(&world, "10.96.0.9").is_some());
        world.apply(&victim);
        world.delete(&listed);
        assert!(world.warnings.is_empty(), "{:?}", world.warnings);
    }
}

#[test]
fn an_endpoint_counts_where_it_is_ready() {
    let services = service("shop", "up", "clusterIP: 10.96.0.1")
        + &service("shop", "down", "clusterIP: 10.96.0.2");
    let mut world =
        World::new(&(services + &slice("up", OUTSIDE, true) + &slice("down", OUTSIDE, false)));
    let w = endpoint(&world, OUTSIDE).expect("published");
    assert_eq!((w.health, backs(w)), (Health::Healthy, vec!["up".into()]));

    // One that wants endpoints that are not ready has them.
    world.apply(&service(
        "shop",
        "down",
        "clusterIP: 10.96.0.2, publishNotReadyAddresses: true",
    ));
    let w = endpoint(&world, OUTSIDE).expect("published");
    assert_eq!(backs(w), ["down", "up"]);

    // Ready nowhere: whoever asks is told that it is there and not ready.
    world.apply(&service("shop", "down", "clusterIP: 10.96.0.2"));
    world.apply(&slice("up", OUTSIDE, false));
    let w = endpoint(&world, OUTSIDE).expect("published");
    assert_eq!(w.health, Health::Unhealthy);
}

#[test]
fn a_pod_counts_for_a_slice_where_it_is_ready() {
    let text = meshed("shop")
        + &pod("shop", "p", "p", "10.0.0.1", 8080)
        + &service("shop", "web", "clusterIP: 10.96.0.1")
        + &slice("web", "10.0.0.1", false);
    let mut world = World::new(&text);
    assert_eq!(backs(world.pod("shop/p")), Vec::<String>::new());
    let not_ready = "clusterIP: 10.96.0.1, publishNotReadyAddresses: true";
    world.apply(&service("shop", "web", not_ready));
    assert_eq!(backs(world.pod("shop/p")), ["web"]);
    world.apply(&service("shop", "web", "clusterIP: 10.96.0.1"));
    assert_eq!(backs(world.pod("shop/p")), Vec::<String>::new());
    world.apply(&slice("web", "10.0.0.1", true));
    assert_eq!(backs(world.pod("shop/p")), ["web"]);
}

/// A policy for a Service holds for its pods also while they are not ready.
#[test]
fn a_policy_for_a_service_covers_a_listed_pod_that_is_not_ready() {
    let text = meshed("shop")
        + &pod("shop", "p", "p", "10.0.0.1", 8080)
        + &service("shop", "web", "clusterIP: 10.96.0.1")
        + &slice("web", "10.0.0.1", false)
        + "{apiVersion: warren.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: none, namespace: shop}, \
           spec: {targetRefs: [{kind: Service, name: web}], action: DENY, rules: [{}]}}";
    let world = World::new(&text);
    assert_eq!(world.attached("shop/p").len(), 1);
}
