//! What does not get through: plaintext to the mesh, impostors, wild requests, anything before the model is complete.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{
    LEGACY, SECOND, SHOPPER, VIP, WEB, World, addr, assert_reset, echo, in_namespace, ping,
    workload,
};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use warren_api::node::Traffic;
use warren_hbone::pool::ConnectHead;
use warren_hbone::{Expect, OpenError, PoolKey, WorkloadCert, tls};
use warren_ztunnel::control;

/// Pods count as new until then, and their plaintext as one that was on its way.
const SETTLED: std::time::Duration = std::time::Duration::from_millis(3_100);

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
fn a_tunnel_that_starts_is_not_ready_before_its_pods_have_certificates() {
    in_namespace(|| async {
        let w = World::with_cert_life(Duration::from_secs(3600)).await;
        w.ca.away.store(true, Ordering::Release);
        w.cx.certified.store(false, Ordering::Release);
        let certified = || w.cx.certified.load(Ordering::Acquire);
        tokio::spawn(control::await_certificates(w.cx.clone()));
        w.serve_web().await;
        w.cx.state.set_synced();
        sleep(Duration::from_millis(500)).await;
        assert!(!certified());
        w.ca.away.store(false, Ordering::Release);
        let came = async {
            while !certified() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(3), came).await.unwrap();
        assert!(
            w.cx.certs
                .all()
                .iter()
                .any(|(id, s)| { &*id.service_account == "web" && s.cert.is_some() })
        );
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

#[test]
fn plaintext_of_a_pod_of_this_node_is_a_missed_direct_flow() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve("web", WEB, &[(Traffic::Plaintext, 15006)]).await;
        tokio::time::sleep(SETTLED).await;
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
            lane: 0,
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
                    .open(&key, &head, &mut warren_hbone::Early::none(), dial)
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
fn the_tunnels_own_plaintext_is_no_missed_direct_flow() {
    in_namespace(|| async {
        let w = World::new().await;
        // As a Service that the node knows, but not yet the mesh: its address leads to a pod of the mesh.
        support::ip(&format!("addr add {VIP}/32 dev lo"));
        w.serve("web", VIP, &[(Traffic::Plaintext, 15006)]).await;
        tokio::time::sleep(SETTLED).await;
        let mut s = w.dial(addr(VIP, 15006)).await;
        assert_reset(&mut s).await;
        w.lines.wait_for(&["flags=UNKNOWN_ADDRESS"]).await;
        assert!(w.cx.missed.take().is_empty());
        assert!(
            w.metrics_text()
                .contains("warren_missed_direct_flows_total 0")
        );
    });
}
