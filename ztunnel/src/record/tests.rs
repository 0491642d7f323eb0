//! Lines, and which connections a change reaches.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use warren_core::policy::{
    Action, Clause, Connection, Match, Policy, PolicyKey, PolicyScope, Rule, StringMatch,
};
use warren_core::workload::Uid;
use warren_core::{Identity, Mesh, Workload};

use super::Format;
use super::info::{Direction, End, Flag, Info, Party, Security, Verdict};
use super::line::Line;
use super::registry::{Event, Registry};

fn workload(namespace: &str, name: &str, ip: &str) -> Workload {
    Workload {
        uid: Uid::from(format!("c//Pod/{namespace}/{name}").as_str()),
        name: name.into(),
        namespace: namespace.into(),
        addresses: vec![ip.parse().unwrap()],
        hostname: "".into(),
        network: "".into(),
        protocol: Default::default(),
        trust_domain: "cluster.local".into(),
        service_account: name.into(),
        node: "a".into(),
        cluster: "c".into(),
        canonical_name: name.into(),
        canonical_revision: "latest".into(),
        workload_name: name.into(),
        kind: Default::default(),
        waypoint: None,
        network_gateway: None,
        native_tunnel: false,
        policies: Vec::new(),
        health: Default::default(),
        locality: Default::default(),
        host_network: false,
        capacity: 1,
        services: Default::default(),
        direct_flows_off: false,
        probe_ports: Vec::new(),
        mesh_by_pod: false,
    }
}

fn inbound(mesh: &Mesh, source: &str, dest: &Arc<Workload>) -> Info {
    let identity = Identity::new("cluster.local", "shop", source);
    let question = Connection {
        identity: Some(identity.clone()),
        source: "10.0.0.9:4000".parse().unwrap(),
        destination: (dest.addresses[0], 80).into(),
    };
    Info {
        direction: Direction::Inbound,
        source: Party {
            address: question.source,
            workload: None,
            identity: Some(identity),
        },
        destination: Party {
            address: question.destination,
            workload: Some(dest.clone()),
            identity: Some(dest.identity()),
        },
        original: None,
        service: None,
        security: Security::MutualTls,
        verdict: mesh.decide(&question, dest).into(),
    }
}

fn deny(namespace: &str, principal: &str) -> Policy {
    let who = StringMatch::Exact(principal.into());
    let one = Match {
        principals: vec![who],
        ..Match::default()
    };
    Policy {
        key: PolicyKey {
            namespace: namespace.into(),
            name: "deny".into(),
        },
        scope: PolicyScope::Namespace,
        action: Action::Deny,
        audit: None,
        rules: vec![Rule {
            clauses: vec![Clause { matches: vec![one] }],
        }],
    }
}

#[tokio::test]
async fn a_change_ends_exactly_what_it_denies() {
    let mut mesh = Mesh::default();
    let web = Arc::new(workload("shop", "web", "10.0.0.1"));
    let other = Arc::new(workload("bank", "ledger", "10.0.0.2"));
    let _ = mesh.upsert_workload(web.clone());
    let _ = mesh.upsert_workload(other.clone());
    let (registry, mut events) = Registry::new(Default::default(), Default::default());
    let alice = registry.open(inbound(&mesh, "alice", &web));
    let bob = registry.open(inbound(&mesh, "bob", &web));
    let elsewhere = registry.open(inbound(&mesh, "alice", &other));
    let mut outbound = inbound(&mesh, "alice", &web);
    outbound.direction = Direction::Outbound;
    outbound.verdict = Verdict::elsewhere();
    let from_here = registry.open(outbound);

    let change = mesh.upsert_policy(deny("shop", "cluster.local/ns/shop/sa/alice"));
    assert_eq!(registry.reevaluate(&mesh, &change), 1);
    alice.killed().await;
    for kept in [&bob, &elsewhere, &from_here] {
        let still = tokio::time::timeout(Duration::from_millis(20), kept.killed()).await;
        assert!(still.is_err(), "{:?}", kept.live().info);
    }
    assert_eq!(registry.reevaluate(&mesh, &change), 0, "each is ended once");
    assert!(matches!(events.recv().await, Some(Event::Denied(l, 1)) if l.id == alice.live().id));
    let end = alice.ended_by();
    assert_eq!(end.flag, Flag::Revoked);
    assert_eq!(end.error.as_deref(), Some("denied by shop/deny"));
    alice.finish(end);
    assert_eq!(registry.len(), 3);
    drop((bob, elsewhere, from_here));
    assert!(registry.is_empty() && !registry.leads_to(&web.uid));
}

#[test]
fn lines_as_text_and_as_json() {
    let mut mesh = Mesh::default();
    let web = Arc::new(workload("shop", "web", "fd00::1"));
    let _ = mesh.upsert_workload(web.clone());
    let _ = mesh.upsert_policy(deny("shop", "cluster.local/ns/shop/sa/alice"));
    let (registry, _events) = Registry::new(Default::default(), Default::default());
    let open = registry.open(inbound(&mesh, "alice", &web));
    let at: SystemTime = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let end = End::failed(Flag::Denied, "denied \"here\"");
    let mut text = String::new();
    Line::access(open.live(), &end).render(&mut text, Format::Text, at);
    assert!(
        text.starts_with(
            "2023-11-14T22:13:20Z access connection=1 reporter=destination source=10.0.0.9:4000 \
             source_identity=spiffe://cluster.local/ns/shop/sa/alice destination=[fd00::1]:80 \
             destination_workload=shop/web destination_identity=spiffe://cluster.local/ns/shop/sa/web \
             security=mutual_tls verdict=deny policy=shop/deny bytes_sent=0 bytes_received=0 duration_ms="
        ),
        "{text}"
    );
    assert!(
        text.ends_with(r#" flags=DENIED error="denied \"here\"""#),
        "{text}"
    );
    let mut json = String::new();
    Line::denial(open.live(), 7).render(&mut json, Format::Json, at);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["type"], "denial");
    assert_eq!(json["denial"], 7);
    assert_eq!(json["reason"], "denied by shop/deny");
    assert_eq!(json["time"], "2023-11-14T22:13:20Z");
}
