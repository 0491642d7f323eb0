//! What one peer may take of a pod.

mod support;

use std::time::Duration;

use support::{PEER_CONNECTIONS, SHOPPER, WEB, World, addr, in_namespace, workload};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use warren_hbone::tls::{self, Encrypted};
use warren_hbone::{Expect, WorkloadCert};

/// A connection of `name` from the shopper's address.
async fn connect(w: &World, name: &str) -> Encrypted<TcpStream> {
    let issued = w.ca.sign(&workload(name, SHOPPER, true).identity());
    let cert = WorkloadCert::new(issued.chain, issued.key).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(addr(SHOPPER, 0)).unwrap();
    let tcp = socket.connect(addr(WEB, 15008)).await.unwrap();
    let limit = Duration::from_secs(5);
    let tls = tls::connect(tcp, &cert, &w.cx.trust, Expect::TrustDomain, limit).await;
    tls.unwrap().stream
}

/// Whether the server keeps it: a client that asks for nothing hears the server's settings, and then nothing.
async fn is_kept(stream: &mut Encrypted<TcpStream>) -> bool {
    let mut buffer = [0; 256];
    loop {
        match timeout(Duration::from_millis(200), stream.read(&mut buffer)).await {
            Err(_) => return true,
            Ok(Ok(1..)) => {}
            Ok(_) => return false,
        }
    }
}

#[test]
fn one_peer_takes_only_so_many_connections() {
    in_namespace(|| async {
        let w = World::new().await;
        w.serve_web().await;
        let mut held = Vec::new();
        for _ in 0..PEER_CONNECTIONS {
            held.push(connect(&w, "shopper").await);
        }
        for stream in &mut held {
            assert!(is_kept(stream).await);
        }
        assert!(!is_kept(&mut connect(&w, "shopper").await).await);
        let counted = r#"warren_tls_handshake_failures_total{reason="too_many_connections"} 1"#;
        assert!(w.metrics_text().contains(counted), "{}", w.metrics_text());
        assert!(
            is_kept(&mut connect(&w, "other").await).await,
            "others are not concerned"
        );
        drop(held);
        while w.cx.peers.taken() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        assert!(is_kept(&mut connect(&w, "shopper").await).await);
    });
}
