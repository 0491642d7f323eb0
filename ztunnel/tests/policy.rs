//! Policy on connections: at their start, and while they live.

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use support::{
    LEGACY, SHOPPER, WEB, World, addr, assert_reset, echo, in_namespace, ping, workload,
};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use warren_api::node::Traffic;
use warren_core::policy::{
    Action, Audit, Clause, Match, Policy, PolicyKey, PolicyScope, Rule, StringMatch,
};

fn policy(name: &str, action: Action, m: Option<Match>) -> Policy {
    let rules = m.map(|m| Rule {
        clauses: vec![Clause { matches: vec![m] }],
    });
    Policy {
        key: PolicyKey {
            namespace: "shop".into(),
            name: name.into(),
        },
        scope: PolicyScope::Namespace,
        action,
        audit: None,
        rules: rules.into_iter().collect(),
    }
}

fn from_shopper() -> Match {
    let principal = StringMatch::Exact("cluster.local/ns/shop/sa/shopper".into());
    Match {
        principals: vec![principal],
        ..Match::default()
    }
}

fn strict() -> Policy {
    let anybody = Match {
        not_principals: vec![StringMatch::Presence],
        ..Match::default()
    };
    policy("strict", Action::Deny, Some(anybody))
}

#[test]
fn denied_at_the_start_is_reset_on_both_sides_of_the_log() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let app = echo(WEB, 8080).await;
        w.update(|m| m.upsert_policy(policy("no-shopper", Action::Deny, Some(from_shopper()))));
        for n in 1..=2 {
            assert_reset(&mut w.dial(app).await).await;
            let line = w.lines.wait_for(&[&format!("denial={n} ")]).await;
            assert!(line.contains("policy=shop/no-shopper"), "{line}");
        }
        let access = w.lines.wait_for(&[" access ", "reporter=source"]).await;
        assert!(access.contains("flags=DENIED"), "{access}");
        assert!(w.metrics_text().contains("warren_denials_total 2"));
    });
}

#[test]
fn a_change_of_policy_ends_what_it_denies_and_nothing_else() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let (shop, admin) = (echo(WEB, 8080).await, echo(WEB, 9090).await);
        let mut denied = w.dial(shop).await;
        let mut kept = w.dial(admin).await;
        ping(&mut denied).await.unwrap();
        ping(&mut kept).await.unwrap();
        let rule = Match {
            destination_ports: vec![8080],
            ..from_shopper()
        };
        let began = Instant::now();
        let ended = w.update(|m| m.upsert_policy(policy("close-shop", Action::Deny, Some(rule))));
        assert_eq!(ended, 1);
        assert_eq!(
            denied.read_u8().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert!(began.elapsed() < Duration::from_secs(1));
        ping(&mut kept).await.unwrap();
        w.lines
            .wait_for(&["flags=REVOKED", "policy=shop/close-shop"])
            .await;
        w.lines
            .wait_for(&["denial=1 ", "policy=shop/close-shop"])
            .await;
    });
}

#[test]
fn a_policy_that_is_named_but_unknown_denies() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let app = echo(WEB, 8080).await;
        let key = PolicyKey {
            namespace: "shop".into(),
            name: "not-yet".into(),
        };
        w.update(|m| {
            let mut web = workload("web", WEB, true);
            web.policies = vec![key.clone()];
            m.upsert_workload(web)
        });
        assert_reset(&mut w.dial(app).await).await;
        w.update(|m| {
            let mut p = policy("not-yet", Action::Allow, Some(from_shopper()));
            p.scope = PolicyScope::Selector;
            m.upsert_policy(p)
        });
        ping(&mut w.dial(app).await).await.unwrap();
    });
}

#[test]
fn a_policy_that_cannot_be_read_denies_what_is_new() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let app = echo(WEB, 8080).await;
        let mut live = w.dial(app).await;
        ping(&mut live).await.unwrap();
        let garbled = PolicyKey::new("shop", "garbled");
        let ended = w.update(|m| m.close(garbled.clone(), PolicyScope::Namespace));
        assert_eq!(ended, 0);
        assert_reset(&mut w.dial(app).await).await;
        w.lines.wait_for(&["policy=shop/garbled"]).await;
        ping(&mut live).await.unwrap();
        w.update(|m| m.reopen(&garbled));
        ping(&mut w.dial(app).await).await.unwrap();
    });
}

#[test]
fn audit_reports_and_lets_pass() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let app = echo(WEB, 8080).await;
        let mut p = policy("watch", Action::Deny, Some(from_shopper()));
        p.audit = Some(Audit::Audit);
        w.update(|m| m.upsert_policy(p));
        ping(&mut w.dial(app).await).await.unwrap();
        w.lines
            .wait_for(&[" audit ", "audit_policy=shop/watch", "verdict=allow"])
            .await;
    });
}

#[test]
fn a_pod_may_call_itself_under_policy() {
    in_namespace(|| async {
        let w = World::new().await;
        let app = echo(SHOPPER, 8080).await;
        ping(&mut w.dial(app).await).await.unwrap();
        w.lines
            .wait_for(&["security=kernel", "verdict=allow"])
            .await;
        w.update(|m| m.upsert_policy(policy("no-shopper", Action::Deny, Some(from_shopper()))));
        assert_reset(&mut w.dial(app).await).await;
    });
}

#[test]
fn plaintext_is_denied_under_strict() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve("web", WEB, &[(Traffic::Plaintext, 15006)]).await;
        w.update(|m| m.upsert_policy(strict()));
        // From an address that is no pod of this node.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(addr(LEGACY, 0)).unwrap();
        let mut s = socket.connect(addr(WEB, 15006)).await.unwrap();
        assert_reset(&mut s).await;
        w.lines
            .wait_for(&[
                "denial=1 ",
                "policy=shop/strict",
                "source_workload=shop/legacy",
            ])
            .await;
    });
}
