//! Which pods a policy reaches, and how policies of several objects work together.

use crate::policy_compile::{allowed, peer, policy};
use crate::support::model::{World, meshed, pod};

const ROOT: &str = "warren-system";

fn base() -> String {
    meshed("shop")
        + &meshed("bank")
        + &pod("shop", "web", "web", "10.0.0.1", 8080)
        + &pod("shop", "db", "db", "10.0.0.2", 5432)
        + &pod("bank", "web", "web", "10.0.0.3", 8080)
}

fn service(name: &str, ports: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, spec: {{selector: {{app: web}}, ports: [{ports}]}}}}\n---\n"
    )
}

#[test]
fn selectors_reach_their_namespace_and_those_of_the_root_namespace_everywhere() {
    let spec = "action: DENY, selector: {matchLabels: {app: web}}, rules: [{}]";
    let world = World::new(&(base() + &policy("shop", "p", spec)));
    assert_eq!(world.attached("shop/web"), ["shop/p"]);
    assert_eq!(
        (
            world.attached("shop/db").len(),
            world.attached("bank/web").len()
        ),
        (0, 0)
    );
    let world = World::new(&(base() + &policy(ROOT, "p", spec)));
    assert_eq!(
        (world.attached("shop/web"), world.attached("bank/web")),
        (
            vec!["warren-system/p".into()],
            vec!["warren-system/p".into()]
        )
    );
    assert!(world.attached("shop/db").is_empty());
}

#[test]
fn a_changed_rule_touches_no_workload() {
    let with = |rules: &str| {
        policy(
            "shop",
            "p",
            &format!("selector: {{matchLabels: {{app: web}}}}, rules: {rules}"),
        )
    };
    let mut world = World::new(&(base() + &with("[{}]")));
    let delta = world.apply(&with("[]"));
    assert_eq!((delta.policies.len(), delta.workloads.len()), (1, 0));
    let delta = world.delete(&with("[]"));
    assert_eq!((delta.policies.len(), delta.workloads.len()), (1, 1));
    assert!(world.attached("shop/web").is_empty() && world.policies.is_empty());
}

#[test]
fn a_policy_on_a_service_covers_its_target_ports_only() {
    let two = pod("shop", "web2", "web", "10.0.0.4", 9090);
    let text = base() + &two + &service("web", "{port: 80, targetPort: http}");
    let spec = "targetRefs: [{kind: Service, name: web}], rules: [{from: [{source: {namespaces: [shop]}}]}]";
    let mut world = World::new(&(text + &policy("shop", "p", spec)));
    assert_eq!(
        world.attached("shop/web"),
        ["shop/p/ports/8080", "shop/service-scope/other-ports/8080"]
    );
    assert_eq!(
        world.attached("shop/web2"),
        ["shop/p/ports/9090", "shop/service-scope/other-ports/9090"]
    );
    assert!(!world.policies.contains_key("shop/p"));
    for (source, port, expected) in [
        ("shop/a", 8080, true),
        ("bank/a", 8080, false),
        ("bank/a", 7000, true),
        ("", 7000, true),
        ("", 8080, false),
    ] {
        assert_eq!(
            allowed(&world, "shop/web", source, port),
            expected,
            "{source} {port}"
        );
    }
    // A wider ALLOW rules the other ports, as it would without the Service's policy.
    world.apply(&policy(
        "shop",
        "wide",
        "rules: [{from: [{source: {namespaces: [ops]}}]}]",
    ));
    assert_eq!(world.attached("shop/web"), ["shop/p/ports/8080"]);
    assert!(
        !allowed(&world, "shop/web", "bank/a", 7000) && allowed(&world, "shop/web", "ops/a", 7000)
    );
    assert!(
        allowed(&world, "shop/web", "shop/a", 8080) && allowed(&world, "shop/web", "ops/a", 8080)
    );
    world.delete(&policy("shop", "wide", ""));
    assert!(allowed(&world, "shop/web", "bank/a", 7000));
    // The last pod with a set of ports takes its policies with it.
    world.delete(&two);
    assert!(
        !world.policies.keys().any(|k| k.contains("9090")),
        "{:?}",
        world.policies.keys()
    );
    world.delete(&policy("shop", "p", spec));
    assert!(world.policies.is_empty() && world.attached("shop/web").is_empty());
}

#[test]
fn a_wide_allow_of_the_mesh_counts_too() {
    let spec = "targetRefs: [{kind: Service, name: web}], rules: [{}]";
    let text =
        base() + &service("web", "{port: 80, targetPort: http}") + &policy("shop", "p", spec);
    let mut world = World::new(&text);
    assert!(allowed(&world, "shop/web", "x/a", 7000));
    world.apply(&policy(ROOT, "wide", "rules: []"));
    assert!(!allowed(&world, "shop/web", "x/a", 7000) && allowed(&world, "shop/web", "x/a", 8080));
    world.delete(&policy(ROOT, "wide", ""));
    assert!(allowed(&world, "shop/web", "x/a", 7000));
}

#[test]
fn two_services_and_a_service_that_comes_later() {
    let spec = "action: DENY, targetRefs: [{kind: Service, name: web}, {kind: Service, name: adm}], rules: [{}]";
    let mut world = World::new(&(base() + &policy("shop", "p", spec)));
    assert_eq!(world.warnings["AuthorizationPolicy shop/p"].len(), 2);
    assert!(allowed(&world, "shop/web", "x/a", 8080));
    world.apply(&service("web", "{port: 80, targetPort: http}"));
    world.apply(&service("adm", "{port: 90, targetPort: 9000}"));
    assert_eq!(
        world.attached("shop/web"),
        ["shop/p/ports/8080,9000"],
        "a DENY leaves other ports alone by itself"
    );
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
    assert!(!allowed(&world, "shop/web", "x/a", 9000) && allowed(&world, "shop/web", "x/a", 9001));
    let changed = spec.replace(
        "rules: [{}]",
        "rules: [{from: [{source: {namespaces: [x]}}]}]",
    );
    let delta = world.apply(&policy("shop", "p", &changed));
    assert_eq!((delta.policies.len(), delta.workloads.len()), (1, 0));
    assert!(allowed(&world, "shop/web", "y/a", 9000));
    world.delete(&service("adm", ""));
    assert_eq!(world.attached("shop/web"), ["shop/p/ports/8080"]);
}

#[test]
fn peer_authentication_narrowest_wins() {
    let mut world = World::new(&base());
    let plain = |world: &World, pod: &str, port: u16| allowed(world, pod, "", port);
    assert!(plain(&world, "shop/web", 80), "PERMISSIVE by default");
    world.apply(&peer(ROOT, "default", "mtls: {mode: STRICT}"));
    assert!(!plain(&world, "shop/web", 80) && !plain(&world, "bank/web", 80));
    assert!(
        allowed(&world, "shop/web", "x/a", 80),
        "STRICT asks for an identity, not for a certain one"
    );
    assert_eq!(
        world.attached("shop/web"),
        ["warren-system/peerauthentication/default"]
    );
    world.apply(&peer("shop", "ns", "mtls: {mode: PERMISSIVE}"));
    assert!(plain(&world, "shop/web", 80) && !plain(&world, "bank/web", 80));
    let delta = world.apply(&peer("shop", "pod", "selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {\"8080\": {mode: PERMISSIVE}}"));
    assert_eq!((delta.workloads.len(), delta.policies.len()), (1, 1));
    assert!(
        !plain(&world, "shop/web", 80)
            && plain(&world, "shop/web", 8080)
            && plain(&world, "shop/db", 80)
    );
    // UNSET inherits; a port on its own may be stricter.
    world.apply(&peer(
        "shop",
        "pod",
        "selector: {matchLabels: {app: web}}, portLevelMtls: {\"8080\": {mode: STRICT}}",
    ));
    assert!(plain(&world, "shop/web", 80) && !plain(&world, "shop/web", 8080));
    world.delete(&peer("shop", "ns", ""));
    assert!(
        !plain(&world, "shop/web", 80),
        "inherits the mesh's STRICT now"
    );
    world.delete(&peer(ROOT, "default", ""));
    assert!(plain(&world, "shop/web", 80) && !plain(&world, "shop/web", 8080));
    world.delete(&peer("shop", "pod", ""));
    assert!(plain(&world, "shop/web", 8080) && world.policies.is_empty());
}

#[test]
fn peer_authentication_says_what_it_does_not_do() {
    let world = World::new(
        &(base()
            + &peer("shop", "a", "mtls: {mode: DISABLE}")
            + &peer(
                "shop",
                "b",
                "mtls: {mode: STRICT}, portLevelMtls: {\"80\": {mode: PERMISSIVE}}",
            )),
    );
    let a = world.warnings["PeerAuthentication shop/a"].join("\n");
    assert!(a.contains("DISABLE is taken as PERMISSIVE"), "{a}");
    let b = world.warnings["PeerAuthentication shop/b"].join("\n");
    assert!(
        b.contains("without a selector")
            && b.contains("PeerAuthentication a covers the same scope"),
        "{b}"
    );
    assert!(
        allowed(&world, "shop/web", "", 80),
        "of two in one place, the first is in force"
    );
}

#[test]
fn policies_reach_only_the_mesh() {
    let plain = pod("plain", "web", "web", "10.0.0.9", 80);
    let text = plain
        + &peer(ROOT, "default", "mtls: {mode: STRICT}")
        + &policy(
            ROOT,
            "p",
            "action: DENY, selector: {matchLabels: {app: web}}, rules: [{}]",
        );
    let mut world = World::new(&text);
    assert!(world.attached("plain/web").is_empty());
    world.apply(&meshed("plain"));
    assert_eq!(world.attached("plain/web").len(), 2);
}
