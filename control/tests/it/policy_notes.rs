//! What authors of policies are told: selectors that choose nobody, policies that stand in each other's way.

use crate::policy_compile::{allowed, peer, policy};
use crate::support::model::{World, meshed, objects, pod};

const ROOT: &str = "warren-system";
const WEB: &str = "selector: {matchLabels: {app: web}}";
const STRICT: &str = "mtls: {mode: STRICT}";

fn said(world: &World, key: &str) -> String {
    let said = world.warnings.get(key).map(|w| w.join("\n"));
    said.unwrap_or_default()
}

#[test]
fn a_selector_that_chooses_nobody_is_told_while_it_does() {
    let policy = policy("shop", "p", &format!("{WEB}, rules: [{{}}]"));
    let peer = peer("shop", "q", &format!("{WEB}, {STRICT}"));
    let keys = ["AuthorizationPolicy shop/p", "PeerAuthentication shop/q"];
    let mut world = World::new(&(meshed("shop") + &policy + &peer));
    let told = |world: &World, expected: bool| {
        for key in keys {
            let said = said(world, key);
            let nobody = said.contains("spec.selector chooses no pod in namespace shop");
            assert_eq!(nobody, expected, "{key}: {said}");
        }
    };
    told(&world, true);
    let elsewhere = pod("bank", "web", "web", "10.0.0.9", 80);
    world.apply(&elsewhere);
    told(&world, true);
    let web = |name: &str, app: &str| pod("shop", name, app, "10.0.0.1", 80);
    world.apply(&web("a", "web"));
    told(&world, false);
    world.apply(&web("b", "web"));
    world.delete(&web("a", "web"));
    told(&world, false);
    world.apply(&web("b", "db"));
    told(&world, true);
    world.apply(&web("b", "web"));
    told(&world, false);
    // A change of the selector counts anew, and so does its way back.
    world.apply(&policy.replace("app: web", "app: db"));
    assert!(said(&world, keys[0]).contains("chooses no pod"));
    world.apply(&policy);
    told(&world, false);
    world.delete(&web("b", "web"));
    told(&world, true);
    world.delete(&policy);
    world.delete(&peer);
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
}

#[test]
fn one_of_the_root_namespace_chooses_everywhere() {
    let text = meshed("shop") + &policy(ROOT, "p", &format!("{WEB}, rules: [{{}}]"));
    let mut world = World::new(&text);
    let key = "AuthorizationPolicy warren-system/p";
    assert!(said(&world, key).contains("chooses no pod in any namespace"));
    world.apply(&pod("shop", "web", "web", "10.0.0.1", 80));
    assert_eq!(said(&world, key), "");
}

#[test]
fn of_two_with_one_selector_the_younger_is_told() {
    let text = meshed("shop")
        + &pod("shop", "web", "web", "10.0.0.1", 80)
        + &peer("shop", "a", &format!("{WEB}, mtls: {{mode: PERMISSIVE}}"))
        + &peer("shop", "b", &format!("{WEB}, {STRICT}"));
    let mut world = World::new(&text);
    let b = "PeerAuthentication shop/b";
    assert!(said(&world, b).contains("PeerAuthentication a covers the same scope"));
    assert_eq!(world.warnings.len(), 1, "{:?}", world.warnings);
    assert!(allowed(&world, "shop/web", "", 80));
    world.delete(&peer("shop", "a", ""));
    assert!(world.warnings.is_empty(), "{:?}", world.warnings);
    assert!(!allowed(&world, "shop/web", "", 80));
}

#[test]
fn a_pod_that_two_choose_by_other_labels_is_told() {
    let both = pod("shop", "web", "web", "10.0.0.1", 80).replace("app: web}", "app: web, tier: x}");
    let text = meshed("shop")
        + &both
        + &peer(
            "shop",
            "a",
            "selector: {matchLabels: {tier: x}}, mtls: {mode: PERMISSIVE}",
        )
        + &peer("shop", "b", &format!("{WEB}, {STRICT}"));
    let mut world = World::new(&text);
    let told = said(&world, "Pod shop/web");
    assert!(
        told.contains("PeerAuthentications a and b choose this pod; a is the oldest"),
        "{told}"
    );
    world.delete(&peer("shop", "a", ""));
    assert_eq!(said(&world, "Pod shop/web"), "");
}

/// What is said before an object is there is what is said once it is.
#[test]
fn a_preview_says_the_same() {
    let base = meshed("shop")
        + &pod("shop", "web", "web", "10.0.0.1", 80)
        + &peer("shop", "a", STRICT)
        + &peer("shop", "c", &format!("{WEB}, {STRICT}"));
    for text in [
        policy("shop", "p", "selector: {matchLabels: {app: nobody}}"),
        policy("shop", "p", WEB),
        policy("shop", "p", "targetRefs: [{kind: Service, name: gone}]"),
        policy(
            "shop",
            "p",
            "rules: [{to: [{operation: {methods: [GET]}}]}]",
        ),
        peer("shop", "p", STRICT),
        peer("shop", "p", &format!("{WEB}, {STRICT}")),
        peer("shop", "p", "selector: {matchLabels: {app: nobody}}"),
        peer("shop", "p", "mtls: {mode: DISABLE}"),
    ] {
        let mut world = World::new(&base);
        let object = objects(&text).remove(0);
        let preview: Vec<String> = world
            .index
            .preview(&object)
            .into_iter()
            .map(|n| n.0)
            .collect();
        world.apply(&text);
        let stored = world.warnings.remove(&object.key().to_string());
        assert_eq!(preview, stored.unwrap_or_default(), "{text}");
        let again: Vec<String> = world
            .index
            .preview(&object)
            .into_iter()
            .map(|n| n.0)
            .collect();
        assert_eq!(preview, again, "{text}");
    }
}
