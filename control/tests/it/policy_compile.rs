//! AuthorizationPolicy and PeerAuthentication, decided by the real evaluator on what was compiled.

use std::net::SocketAddr;

use warren_control::source::decode::decode;
use warren_control::source::dir::document::parse;
use warren_core::policy::{Action, Audit, Connection, PolicyScope};
use warren_core::{Identity, Mesh};

use crate::support::model::{World, meshed, pod};

/// shop/web on 10.0.0.1 with the given spec as a policy of namespace shop.
fn world(spec: &str) -> World {
    let policy = policy("shop", "p", spec);
    World::new(&(meshed("shop") + &pod("shop", "web", "web", "10.0.0.1", 8080) + &policy))
}

pub fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: warren.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}\n---\n"
    )
}

pub fn peer(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: warren.dev/v1alpha1, kind: PeerAuthentication, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}\n---\n"
    )
}

/// Whether `source` (`<namespace>/<account>`, or empty for plaintext) may connect to a pod's port.
pub fn allowed(world: &World, pod: &str, source: &str, port: u16) -> bool {
    let mut mesh = Mesh::default();
    for p in world.policies.values() {
        mesh.upsert_policy(p.clone());
    }
    for w in world.workloads.values() {
        mesh.upsert_workload(w.clone());
    }
    let dest = world.pod(pod);
    let identity = source
        .split_once('/')
        .map(|(ns, sa)| Identity::new("cluster.local", ns, sa));
    let connection = Connection {
        identity,
        source: "10.0.9.9:40000".parse().expect("address"),
        destination: SocketAddr::new(dest.addresses[0], port),
    };
    mesh.decide(&connection, dest).is_allowed()
}

#[test]
fn decisions() {
    // spec, [(source, port, allowed)]
    type Case = (&'static str, &'static [(&'static str, u16, bool)]);
    let cases: &[Case] = &[
        ("", &[("shop/a", 80, false), ("", 80, false)]),
        ("rules: []", &[("shop/a", 80, false)]),
        ("rules: [{}]", &[("shop/a", 80, true), ("", 80, true)]),
        (
            "action: DENY, rules: [{}]",
            &[("shop/a", 80, false), ("", 80, false)],
        ),
        (
            "rules: [{from: [{source: {namespaces: [shop]}}]}]",
            &[
                ("shop/a", 80, true),
                ("other/a", 80, false),
                ("", 80, false),
            ],
        ),
        (
            "rules: [{from: [{source: {namespaces: [\"sh*\"]}}]}]",
            &[("shop/a", 80, true), ("other/a", 80, false)],
        ),
        (
            "rules: [{from: [{source: {notNamespaces: [\"*op\"]}}]}]",
            &[("shop/a", 80, false), ("other/a", 80, true)],
        ),
        (
            "rules: [{from: [{source: {principals: [\"cluster.local/ns/shop/sa/a\"]}}]}]",
            &[("shop/a", 80, true), ("shop/b", 80, false)],
        ),
        (
            "rules: [{from: [{source: {principals: [\"spiffe://cluster.local/ns/shop/sa/a\"]}}]}]",
            &[("shop/a", 80, true)],
        ),
        (
            "rules: [{from: [{source: {principals: [\"*\"]}}]}]",
            &[("shop/a", 80, true), ("", 80, false)],
        ),
        (
            "rules: [{from: [{source: {principals: [\"*/sa/a\"]}}]}]",
            &[("x/a", 80, true), ("x/b", 80, false)],
        ),
        (
            "action: DENY, rules: [{from: [{source: {notPrincipals: [\"*\"]}}]}]",
            &[("shop/a", 80, true), ("", 80, false)],
        ),
        (
            "rules: [{from: [{source: {serviceAccounts: [a, other/b]}}]}]",
            &[
                ("shop/a", 80, true),
                ("other/a", 80, false),
                ("other/b", 80, true),
            ],
        ),
        (
            "rules: [{from: [{source: {notServiceAccounts: [a]}}]}]",
            &[("shop/a", 80, false), ("shop/b", 80, true)],
        ),
        (
            "rules: [{from: [{source: {ipBlocks: [10.0.9.0/24]}}]}]",
            &[("", 80, true)],
        ),
        (
            "rules: [{from: [{source: {ipBlocks: [10.0.9.8]}}]}]",
            &[("", 80, false)],
        ),
        (
            "rules: [{from: [{source: {notIpBlocks: [\"::ffff:10.0.9.9\"]}}]}]",
            &[("", 80, false)],
        ),
        (
            "rules: [{to: [{operation: {ports: [\"80\", 81]}}]}]",
            &[("", 80, true), ("", 81, true), ("", 82, false)],
        ),
        (
            "rules: [{to: [{operation: {notPorts: [\"80\"]}}]}]",
            &[("", 80, false), ("", 82, true)],
        ),
        (
            "rules: [{from: [{source: {namespaces: [shop]}}, {source: {namespaces: [other]}}], to: [{operation: {ports: [\"80\"]}}]}]",
            &[
                ("shop/a", 80, true),
                ("other/a", 80, true),
                ("other/a", 81, false),
                ("third/a", 80, false),
            ],
        ),
        (
            "rules: [{from: [{source: {namespaces: [shop]}}]}, {to: [{operation: {ports: [\"81\"]}}]}]",
            &[("shop/a", 80, true), ("x/a", 81, true), ("x/a", 80, false)],
        ),
        (
            "rules: [{when: [{key: source.namespace, values: [shop]}, {key: destination.port, notValues: [\"81\"]}]}]",
            &[
                ("shop/a", 80, true),
                ("shop/a", 81, false),
                ("x/a", 80, false),
            ],
        ),
        (
            "rules: [{when: [{key: source.principal, values: [\"cluster.local/ns/shop/sa/a\"]}]}]",
            &[("shop/a", 80, true), ("shop/b", 80, false)],
        ),
        (
            "rules: [{when: [{key: source.ip, values: [10.0.9.9]}, {key: destination.ip, values: [10.0.0.0/8]}]}]",
            &[("", 80, true)],
        ),
        (
            "rules: [{when: [{key: destination.ip, notValues: [10.0.0.1]}]}]",
            &[("", 80, false)],
        ),
        // HTTP-only: an ALLOW rule never matches, other rules do; a DENY rule denies its L4 part.
        (
            "rules: [{to: [{operation: {methods: [GET], ports: [\"80\"]}}]}, {to: [{operation: {ports: [\"81\"]}}]}]",
            &[("", 80, false), ("", 81, true)],
        ),
        (
            "rules: [{to: [{operation: {paths: [/x]}}]}]",
            &[("", 80, false)],
        ),
        (
            "action: DENY, rules: [{to: [{operation: {methods: [GET], ports: [\"80\"]}}]}]",
            &[("", 80, false), ("", 81, true)],
        ),
        (
            "action: DENY, rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {hosts: [h]}}]}]",
            &[("shop/a", 80, false), ("x/a", 80, true)],
        ),
        (
            "action: DENY, rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {hosts: [h]}}, {operation: {ports: [\"80\"]}}]}]",
            &[("shop/a", 99, false), ("x/a", 80, true)],
        ),
        (
            "rules: [{from: [{source: {requestPrincipals: [\"*\"]}}]}]",
            &[("shop/a", 80, false)],
        ),
        (
            "rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]",
            &[("shop/a", 80, false)],
        ),
        (
            "action: DENY, rules: [{from: [{source: {remoteIpBlocks: [1.2.3.4], namespaces: [shop]}}]}]",
            &[("shop/a", 80, false), ("x/a", 80, true)],
        ),
        (
            "rules: [{when: [{key: \"request.headers[x]\", values: [v]}]}]",
            &[("shop/a", 80, false)],
        ),
        (
            "action: DENY, rules: [{when: [{key: connection.sni, values: [v]}, {key: source.namespace, values: [shop]}]}]",
            &[("shop/a", 80, false), ("x/a", 80, true)],
        ),
        (
            "action: AUDIT, rules: [{}]",
            &[("shop/a", 80, true), ("", 80, true)],
        ),
    ];
    for (spec, expectations) in cases {
        let world = world(spec);
        for (source, port, expected) in *expectations {
            assert_eq!(
                allowed(&world, "shop/web", source, *port),
                *expected,
                "{spec}: {source} to {port}"
            );
        }
    }
}

#[test]
fn http_only_fields_are_named() {
    for (spec, part) in [
        (
            "rules: [{to: [{operation: {methods: [GET]}}]}]",
            "spec.rules[0].to[0].operation.methods: cannot be checked at L4, so this rule never matches",
        ),
        (
            "action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]",
            "refuses everything that its other fields match",
        ),
        (
            "rules: [{when: [{key: request.auth.claims, values: [v]}]}]",
            "spec.rules[0].when[0].key `request.auth.claims`",
        ),
        (
            "targetRefs: [{kind: Gateway, name: g, group: gateway.networking.k8s.io}]",
            "not supported in this release",
        ),
        (
            "targetRefs: [{kind: Service, name: gone}]",
            "there is no Service gone",
        ),
    ] {
        let world = world(spec);
        let warnings = world.warnings["AuthorizationPolicy shop/p"].join("\n");
        assert!(warnings.contains(part), "{warnings}");
    }
}

#[test]
fn audit_and_dry_run_are_marked() {
    let audit = world("action: AUDIT, rules: [{}]");
    let p = audit.policy("shop/p");
    assert_eq!((p.action, p.audit), (Action::Deny, Some(Audit::Audit)));
    let text = policy("shop", "p", "rules: [{}]").replace(
        "name: p,",
        "name: p, annotations: {warren.dev/dry-run: \"true\"},",
    );
    let dry = World::new(&(meshed("shop") + &pod("shop", "web", "web", "10.0.0.1", 80) + &text));
    assert_eq!(
        (dry.policy("shop/p").action, dry.policy("shop/p").audit),
        (Action::Allow, Some(Audit::DryRun))
    );
    assert!(
        allowed(&dry, "shop/web", "", 80),
        "a dry run is no ALLOW that is present"
    );
}

#[test]
fn scopes() {
    let scope = |namespace: &str, spec: &str| {
        let world = World::new(&policy(namespace, "p", spec));
        world.policy(&format!("{namespace}/p")).scope
    };
    assert_eq!(scope("warren-system", ""), PolicyScope::Mesh);
    assert_eq!(scope("shop", ""), PolicyScope::Namespace);
    assert_eq!(scope("shop", "selector: {}"), PolicyScope::Namespace);
    assert_eq!(
        scope("shop", "selector: {matchLabels: {a: b}}"),
        PolicyScope::Selector
    );
}

#[test]
fn invalid_objects_are_refused_with_the_field() {
    let cases = [
        ("rules: [{from: []}]", "spec.rules[0].from is empty"),
        (
            "rules: [{from: [{source: {}}]}]",
            "spec.rules[0].from[0].source is empty",
        ),
        (
            "rules: [{to: [{operation: {}}]}]",
            "spec.rules[0].to[0].operation is empty",
        ),
        (
            "rules: [{from: [{source: {ipBlocks: [10.0.0.300]}}]}]",
            "spec.rules[0].from[0].source.ipBlocks: `10.0.0.300`",
        ),
        (
            "rules: [{from: [{source: {remoteIpBlocks: [x]}}]}]",
            "remoteIpBlocks: `x`",
        ),
        (
            "rules: [{to: [{operation: {ports: [\"http\"]}}]}]",
            "`http` is not a port",
        ),
        (
            "rules: [{to: [{operation: {ports: [70000]}}]}]",
            "`70000` is not a port",
        ),
        (
            "rules: [{from: [{source: {principals: [\"*a*\"]}}]}]",
            "`*` may stand at one end only",
        ),
        (
            "rules: [{from: [{source: {namespaces: [\"\"]}}]}]",
            "a value is empty",
        ),
        (
            "rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]",
            "cannot stand beside",
        ),
        (
            "rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]",
            "`a/b/c`",
        ),
        (
            "rules: [{when: [{key: source.ip}]}]",
            "neither values nor notValues",
        ),
        (
            "selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: web}]",
            "exclude each other",
        ),
        ("targetRefs: []", "spec.targetRefs is empty"),
        ("action: PERMIT", "PERMIT"),
        ("rules: [{form: []}]", "unknown field spec.rules[0].form"),
        (
            "selector: {matchLables: {a: b}}",
            "unknown field spec.selector.matchLables",
        ),
    ];
    for (spec, part) in cases {
        let (documents, malformed) = parse(&policy("shop", "p", spec), false);
        assert_eq!(malformed, [], "{spec}");
        let value = documents.into_iter().next().expect("one").value;
        let rejected = decode(value).expect_err(spec);
        assert!(
            rejected.note.reason.contains(part),
            "{spec}: {}",
            rejected.note.reason
        );
        assert_eq!(
            rejected.object.expect("named").to_string(),
            "AuthorizationPolicy shop/p"
        );
    }
    let bad = peer(
        "shop",
        "p",
        "selector: {matchLabels: {a: b}}, portLevelMtls: {\"http\": {mode: STRICT}}",
    );
    let value = parse(&bad, false).0.remove(0).value;
    assert!(
        decode(value)
            .expect_err("no port")
            .note
            .reason
            .contains("`http` is not a port")
    );
}
