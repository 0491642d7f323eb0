//! Connections through a whole tunnel: out of one pod and into another.

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use support::{LEGACY, SECOND, SHOPPER, VIP, WEB, World, addr, echo, in_namespace, uid, workload};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use warren_api::node::Traffic;
use warren_core::address::NetworkAddress;
use warren_core::policy::{
    Action, Audit, Clause, Match, Policy, PolicyKey, PolicyScope, Rule, StringMatch,
};
use warren_core::service::{PortMapping, Service, ServiceKey};
use warren_hbone::pool::ConnectHead;
use warren_hbone::{Expect, OpenError, PoolKey, WorkloadCert, tls};
use warren_ztunnel::net::OriginalDestination;

async fn ping(s: &mut TcpStream) -> std::io::Result<()> {
    s.write_all(b"ping").await?;
    let mut buf = [0; 4];
    s.read_exact(&mut buf).await?;
    assert_eq!(&buf, b"ping");
    Ok(())
}

async fn assert_reset(s: &mut TcpStream) {
    let _ = s.write_all(b"ping").await;
    let e = timeout(Duration::from_secs(15), s.read_u8())
        .await
        .expect("in time")
        .expect_err("a reset");
    assert_eq!(e.kind(), ErrorKind::ConnectionReset);
}

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
fn pod_to_pod_travels_by_hbone_with_identities() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let app = echo(WEB, 8080).await;
        let mut s = w.dial(app).await;
        ping(&mut s).await.unwrap();
        assert_eq!(
            *w.kernel.declared.lock(),
            [s.local_addr().unwrap()],
            "the application is told the client's own address"
        );
        let local = s.local_addr().unwrap().to_string();
        let metrics = w.metrics_text();
        for series in [
            "reporter=\"source\"",
            "reporter=\"destination\"",
            "security_policy=\"mutual_tls\"",
        ] {
            assert!(metrics.contains(series), "{series} in {metrics}");
        }
        s.shutdown().await.unwrap();
        assert_eq!(s.read(&mut [0]).await.unwrap(), 0, "a clean end");
        for reporter in ["reporter=source", "reporter=destination"] {
            let line = w.lines.wait_for(&[" access ", reporter]).await;
            for part in [
                "source_workload=shop/shopper",
                "source_identity=spiffe://cluster.local/ns/shop/sa/shopper",
                "destination=10.7.0.1:8080",
                "destination_identity=spiffe://cluster.local/ns/shop/sa/web",
                "security=mutual_tls",
                "bytes_sent=4",
                "bytes_received=4",
                "flags=-",
                &format!("source={local}"),
            ] {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
    });
}

#[test]
fn half_close_passes_both_ways() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let app = TcpListener::bind(addr(WEB, 8080)).await.unwrap();
        let mut client = w.dial(addr(WEB, 8080)).await;
        let (mut server, _) = app.accept().await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = String::new();
        server.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        got.clear();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "answer");
    });
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
fn outside_the_mesh_is_plain() {
    in_namespace(|| async {
        let w = World::new().await;
        let app = echo(LEGACY, 8080).await;
        ping(&mut w.dial(app).await).await.unwrap();
        let line = w
            .lines
            .wait_for(&[" access ", "destination=10.7.0.3:8080"])
            .await;
        assert!(line.contains("security=none"), "{line}");
    });
}

#[test]
fn an_enrolled_destination_is_never_reached_in_plaintext() {
    in_namespace(|| async {
        let w = World::new().await;
        // The application listens, its tunnel does not.
        let app = TcpListener::bind(addr(WEB, 8080)).await.unwrap();
        let began = Instant::now();
        assert_reset(&mut w.dial(addr(WEB, 8080)).await).await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "gave up after {:?}",
            began.elapsed()
        );
        assert!(
            timeout(Duration::from_millis(100), app.accept())
                .await
                .is_err(),
            "a connection reached the application"
        );
        w.lines.wait_for(&["flags=CONNECT", "10.7.0.1:15008"]).await;
    });
}

#[test]
fn a_pod_that_is_just_being_enrolled_is_waited_for() {
    in_namespace(|| async {
        let w = World::new().await;
        let app = echo(WEB, 8080).await;
        let mut s = w.dial(app).await;
        sleep(Duration::from_millis(700)).await;
        w.serve_web().await;
        ping(&mut s).await.unwrap();
    });
}

#[test]
fn an_impostor_gets_no_byte() {
    in_namespace(|| async {
        let w = World::new().await;
        let app = TcpListener::bind(addr(WEB, 8080)).await.unwrap();
        // Another pod's identity answers at web's address.
        w.update(|m| m.upsert_workload(workload("thief", SECOND, true)));
        w.serve("thief", WEB, &[(Traffic::Hbone, 15008)]).await;
        assert_reset(&mut w.dial(addr(WEB, 8080)).await).await;
        assert!(
            timeout(Duration::from_millis(100), app.accept())
                .await
                .is_err()
        );
        w.lines
            .wait_for(&["flags=TLS", "spiffe://cluster.local/ns/shop/sa/thief"])
            .await;
    });
}

#[test]
fn nothing_leaves_before_the_model_is_complete() {
    in_namespace(|| async {
        let w = World::with_cert_life(Duration::from_secs(3600)).await;
        let app = TcpListener::bind(addr(LEGACY, 8080)).await.unwrap();
        let _s = w.dial(addr(LEGACY, 8080)).await;
        assert!(
            timeout(Duration::from_millis(300), app.accept())
                .await
                .is_err()
        );
        w.cx.state.set_synced();
        timeout(Duration::from_secs(5), app.accept())
            .await
            .expect("goes on once it is")
            .unwrap();
    });
}

#[test]
fn a_connection_that_nobody_captured_is_closed() {
    in_namespace(|| async {
        let w = World::new().await;
        let mut s = TcpStream::connect(addr(SHOPPER, 15001)).await.unwrap();
        assert!(s.read_u8().await.is_err());
        assert!(
            w.metrics_text()
                .contains("warren_uncaptured_connections_total 1")
        );
    });
}

fn service(m: &mut warren_core::Mesh, members: &[(&str, &str)]) -> warren_core::mesh::Change {
    let key = ServiceKey {
        namespace: "shop".into(),
        hostname: "web.shop.svc.cluster.local".into(),
    };
    let ports = vec![PortMapping {
        service_port: 80,
        target_port: 8080,
    }];
    let mut change = m.upsert_service(Service {
        name: "web".into(),
        namespace: key.namespace.clone(),
        hostname: key.hostname.clone(),
        addresses: vec![NetworkAddress::local(VIP.parse().unwrap())],
        ports: ports.clone(),
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: Default::default(),
    });
    for (name, ip) in members {
        let mut member = workload(name, ip, true);
        member.services.insert(key.clone(), ports.clone());
        change.merge(m.upsert_workload(member));
    }
    change
}

#[test]
fn a_service_is_resolved_and_named_in_the_log() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        echo(WEB, 8080).await;
        w.update(|m| service(m, &[("web", WEB)]));
        ping(&mut w.dial(addr(VIP, 80)).await).await.unwrap();
        let line = w.lines.wait_for(&[" access ", "reporter=source"]).await;
        for part in [
            "service=shop/web.shop.svc.cluster.local",
            "original_destination=10.7.9.1:80",
            "destination=10.7.0.1:8080",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    });
}

#[test]
fn an_endpoint_that_does_not_answer_is_passed_over() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        echo(WEB, 8080).await;
        w.update(|m| service(m, &[("web", WEB), ("second", SECOND)]));
        for _ in 0..8 {
            ping(&mut w.dial(addr(VIP, 80)).await).await.unwrap();
        }
        // The kernel's choice is taken, and passed over when it fails.
        let backend = Some(addr(SECOND, 8080));
        ping(
            &mut w
                .dial_with(OriginalDestination {
                    asked: addr(VIP, 80),
                    backend,
                })
                .await,
        )
        .await
        .unwrap();
    });
}

#[test]
fn a_service_without_endpoints_is_reset_with_the_reason() {
    in_namespace(|| async {
        let w = World::new().await;
        w.update(|m| service(m, &[]));
        assert_reset(&mut w.dial(addr(VIP, 80)).await).await;
        w.lines
            .wait_for(&["flags=NO_ENDPOINT", "no endpoints"])
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

#[test]
fn plaintext_of_a_pod_of_this_node_is_a_missed_direct_flow() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve("web", WEB, &[(Traffic::Plaintext, 15006)]).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(addr(SHOPPER, 0)).unwrap();
        let mut s = socket.connect(addr(WEB, 15006)).await.unwrap();
        assert_reset(&mut s).await;
        w.lines.wait_for(&["flags=MISSED_DIRECT"]).await;
        assert!(
            w.metrics_text()
                .contains("warren_missed_direct_flows_total 1")
        );
    });
}

#[test]
fn wild_requests_of_a_member_are_refused() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let issued = w.ca.sign(&workload("shopper", SHOPPER, true).identity());
        let cert = WorkloadCert::new(issued.chain, issued.key).unwrap();
        let key = PoolKey {
            source: cert.identity.clone(),
            pod: "raw".into(),
            destination: addr(WEB, 15008),
            expect: Expect::TrustDomain,
        };
        let cases = [
            ("10.7.0.1:15008", 503),
            ("10.7.0.1:15001", 503),
            ("10.7.0.1:15006", 503),
            ("10.7.0.1:0", 503),
            ("10.7.0.2:8080", 400),
            ("127.0.0.1:22", 400),
            ("web:80", 400),
            ("10.7.0.1:4444", 503),
        ];
        for (authority, status) in cases {
            let head = ConnectHead {
                authority: authority.into(),
                headers: Default::default(),
            };
            let dial = || async {
                let tcp = TcpStream::connect(addr(WEB, 15008)).await.unwrap();
                Ok(tls::connect(
                    tcp,
                    &cert,
                    &w.cx.trust,
                    Expect::TrustDomain,
                    Duration::from_secs(5),
                )
                .await?)
            };
            let e =
                w.cx.pool
                    .open(&key, &head, dial)
                    .await
                    .err()
                    .expect("refused");
            assert!(
                matches!(e, OpenError::Status(s) if s == status),
                "{authority}: {e:?}"
            );
        }
    });
}

#[test]
fn renewal_leaves_connections_alone() {
    in_namespace(|| async {
        let w = World::with_cert_life(Duration::from_secs(2)).await;
        w.cx.state.set_synced();
        w.serve_web().await;
        let app = echo(WEB, 8080).await;
        let mut old = w.dial(app).await;
        for _ in 0..25 {
            ping(&mut old).await.unwrap();
            sleep(Duration::from_millis(200)).await;
            ping(&mut w.dial(app).await).await.unwrap();
        }
        let fetched: Vec<u64> = w.cx.certs.all().iter().map(|(_, s)| s.fetched).collect();
        assert!(
            fetched.len() == 2 && fetched.iter().all(|n| *n >= 4),
            "{fetched:?}"
        );
    });
}

#[test]
fn a_removed_pod_keeps_its_connections_and_takes_no_new_ones() {
    in_namespace(|| async {
        let w = World::new().await;
        let pod = w.serve_web().await;
        let app = echo(WEB, 8080).await;
        let mut old = w.dial(app).await;
        ping(&mut old).await.unwrap();
        w.cx.pods.remove(&uid("web")).unwrap().retire();
        ping(&mut old).await.unwrap();
        assert!(pod.live() > 0);
        assert!(TcpStream::connect(addr(WEB, 15008)).await.is_err());
        drop(old);
    });
}

#[test]
fn at_the_end_what_is_left_is_reset_rather_than_ended() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let app = echo(WEB, 8080).await;
        let mut s = w.dial(app).await;
        ping(&mut s).await.unwrap();
        w.cx.registry.end_all();
        assert_eq!(
            s.read_u8().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        w.lines.wait_for(&["flags=DRAIN"]).await;
    });
}
