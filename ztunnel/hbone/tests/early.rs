//! The application's first bytes travel with the request, once the peer has said that it takes them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use support::{Ca, Client, Server, id, spiffe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use warren_hbone::headers::EARLY_DATA;
use warren_hbone::{Counters, Early, Expect, Limits, OpenError, copy, tls};

/// Both ends of an application's connection, the tunnel's one with `first` on its way.
async fn application(first: &[u8]) -> (TcpStream, Early<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut app = TcpStream::connect(address).await.unwrap();
    app.write_all(first).await.unwrap();
    let (local, _) = listener.accept().await.unwrap();
    local.readable().await.unwrap();
    (app, Early::new(local))
}

struct World {
    server: Server,
    client: Client,
    app: TcpListener,
}

/// A client whose connection has learnt that the server takes early data.
async fn world() -> World {
    let ca = Ca::new();
    let world = World {
        server: Server::start(&ca, ca.issue(&spiffe("web"))).await,
        client: Client::new(&ca, ca.issue(&spiffe("shopper")), Expect::one(id("web"))),
        app: TcpListener::bind("127.0.0.1:0").await.unwrap(),
    };
    let (_app, mut local) = application(b"not early").await;
    let authority = world.app.local_addr().unwrap().to_string();
    let opened = world
        .client
        .open_with(world.server.addr, &authority, &mut local);
    drop(opened.await.unwrap());
    assert_eq!(local.sent(), 0, "nothing is known of the peer yet");
    world.app.accept().await.unwrap();
    world
}

#[tokio::test]
async fn first_bytes_arrive_before_the_server_has_said_anything() {
    let w = world().await;
    let (mut app, mut local) = application(b"hello").await;
    let authority = w.app.local_addr().unwrap().to_string();
    let opened = w.client.open_with(w.server.addr, &authority, &mut local);
    // The server's application is silent: the answer comes all the same, soon.
    let opened = timeout(Duration::from_secs(1), opened).await.unwrap();
    let mut opened = opened.unwrap();
    assert_eq!(local.sent(), 5);
    tokio::spawn(async move { copy(&mut local, &mut opened.tunnel, &Counters::default()).await });
    let (mut server, _) = w.app.accept().await.unwrap();
    app.write_all(b" world").await.unwrap();
    let mut got = [0; 11];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello world");
    server.write_all(b"bye").await.unwrap();
    drop(server);
    let mut rest = Vec::new();
    app.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
}

#[tokio::test]
async fn a_client_that_has_ended_already_gets_its_late_answer() {
    let w = world().await;
    let (mut app, mut local) = application(b"all").await;
    app.shutdown().await.unwrap();
    let authority = w.app.local_addr().unwrap().to_string();
    let mut opened = w
        .client
        .open_with(w.server.addr, &authority, &mut local)
        .await
        .unwrap();
    tokio::spawn(async move { copy(&mut local, &mut opened.tunnel, &Counters::default()).await });
    let (mut server, _) = w.app.accept().await.unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"all");
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.write_all(b"answer").await.unwrap();
    drop(server);
    got.clear();
    app.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"answer");
}

#[tokio::test]
async fn more_than_goes_with_a_request_arrives_in_order() {
    let w = world().await;
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let (mut app, mut local) = application(&sent[..20_000]).await;
    let authority = w.app.local_addr().unwrap().to_string();
    let mut opened = w
        .client
        .open_with(w.server.addr, &authority, &mut local)
        .await
        .unwrap();
    tokio::spawn(async move { copy(&mut local, &mut opened.tunnel, &Counters::default()).await });
    let rest = sent[20_000..].to_vec();
    tokio::spawn(async move { app.write_all(&rest).await });
    let (mut server, _) = w.app.accept().await.unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn what_a_refused_request_carried_can_be_sent_again() {
    let w = world().await;
    let closed = w.app.local_addr().unwrap().to_string();
    drop(w.app);
    let (_app, mut local) = application(b"again").await;
    let refused = w.client.open_with(w.server.addr, &closed, &mut local).await;
    assert!(matches!(refused, Err(OpenError::Status(s)) if s == 503));
    assert_eq!(local.sent(), 0);
    let mut got = [0; 5];
    local.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"again");
}

/// Answers the first request, and drops the connection once the second has brought bytes.
async fn breaks_off(listener: TcpListener, cert: tls::WorkloadCert, trust: Arc<tls::Trust>) {
    let (tcp, _) = listener.accept().await.unwrap();
    let accepted = tls::accept(tcp, &cert, &trust, Limits::default().handshake)
        .await
        .unwrap();
    let mut conn = h2::server::handshake(accepted.stream).await.unwrap();
    let (_request, mut respond) = conn.accept().await.unwrap().unwrap();
    let answer = Response::builder()
        .header(EARLY_DATA, "1")
        .body(())
        .unwrap();
    let _stream = respond.send_response(answer, false).unwrap();
    let (request, _respond) = conn.accept().await.unwrap().unwrap();
    let mut body = request.into_body();
    tokio::select! {
        data = body.data() => assert_eq!(&data.unwrap().unwrap()[..], b"once"),
        _ = conn.accept() => panic!("no third request"),
    }
}

#[tokio::test]
async fn bytes_that_may_have_arrived_are_never_sent_again() {
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(breaks_off(listener, ca.issue(&spiffe("web")), ca.trust()));
    let client = Client::new(&ca, ca.issue(&spiffe("shopper")), Expect::one(id("web")));
    let _first = client.open(address, "10.0.0.1:80").await.unwrap();
    let (_app, mut local) = application(b"once").await;
    let lost = client.open_with(address, "10.0.0.1:80", &mut local).await;
    let error = lost.err().unwrap();
    assert!(matches!(error, OpenError::Lost(_)), "{error:?}");
    assert!(!error.is_retryable());
    server.await.unwrap();
}
