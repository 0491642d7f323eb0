//! Connections through a whole tunnel: out of one pod and into another.

mod support;

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use support::{
    LEGACY, SECOND, VIP, WEB, World, addr, assert_reset, echo, in_namespace, ping, uid, workload,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use warren_core::address::NetworkAddress;
use warren_core::service::{PortMapping, Service, ServiceKey};
use warren_ztunnel::net::{self, OriginalDestination};

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
fn outside_the_mesh_the_client_is_seen_as_it_is() {
    in_namespace(|| async {
        let w = World::new().await;
        let app = TcpListener::bind(addr(LEGACY, 8080)).await.unwrap();
        for _ in 0..20 {
            let client = w.dial(addr(LEGACY, 8080)).await;
            let (_server, seen) = app.accept().await.unwrap();
            assert_eq!(seen, client.local_addr().unwrap());
        }
    });
}

#[test]
fn a_first_connection_may_come_before_its_certificate_is_wanted() {
    in_namespace(|| async {
        let w = World::new().await;
        let app = echo(WEB, 8080).await;
        w.update(|m| m.remove_workload(&uid("shopper")));
        let mut s = w.dial(app).await;
        w.serve_web().await;
        w.update(|m| m.upsert_workload(workload("shopper", support::SHOPPER, true)));
        ping(&mut s).await.unwrap();
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
        // The accept loop ends when its task runs next.
        sleep(Duration::from_millis(100)).await;
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

#[test]
fn a_bound_port_takes_over_from_its_time_wait() {
    in_namespace(|| async {
        let app = TcpListener::bind(addr(WEB, 8080)).await.unwrap();
        let mut sockets = Vec::new();
        for n in 0..50 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            net::bind_shared(&socket, addr(WEB, 57_000)).unwrap();
            let connected = net::connect(socket, addr(WEB, 8080), Duration::from_secs(5)).await;
            let mut client = connected.unwrap_or_else(|e| panic!("connection {n}: {e}"));
            let (mut server, _) = app.accept().await.unwrap();
            // While one lives, the same four are in use.
            let second = tokio::net::TcpSocket::new_v4().unwrap();
            net::bind_shared(&second, addr(WEB, 57_000)).unwrap();
            let e = net::connect(second, addr(WEB, 8080), Duration::from_secs(5))
                .await
                .unwrap_err();
            assert!(net::is_in_use(&e), "{e}");
            // The client ends first, so the TIME_WAIT is on its side.
            client.shutdown().await.unwrap();
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
            server.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            net::close_cleanly(&client);
            sockets.push(server);
        }
    });
}

#[test]
fn a_connection_in_the_queue_of_a_pod_that_is_let_go_is_served() {
    in_namespace(|| async {
        let w = World::new().await;
        let app = echo(LEGACY, 8080).await;
        let mut dial = pin!(w.dial(app));
        let begun = poll_fn(|cx| Poll::Ready(dial.as_mut().poll(cx))).await;
        assert!(begun.is_pending());
        w.cx.pods.remove(&uid("shopper")).unwrap().retire();
        ping(&mut dial.await).await.unwrap();
    });
}
