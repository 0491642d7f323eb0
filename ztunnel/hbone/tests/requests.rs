//! What a server answers to requests, asked by a plain HTTP/2 client.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, Uri};
use rustls::ClientConfig;
use support::{Ca, Client, Server, id, spiffe};
use tokio::net::TcpListener;
use tokio::time::timeout;
use warren_hbone::Expect;

struct Raw {
    server: Server,
    send: SendRequest<Bytes>,
}

/// A hand-made HTTP/2 connection of a member of the mesh.
async fn raw() -> Raw {
    let ca = Ca::new();
    let server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let client = Client::new(&ca, ca.issue(&spiffe("shopper")), Expect::one(id("web")));
    let tls = client.dial(server.addr).await.unwrap();
    let (send, conn) = h2::client::handshake(tls.stream).await.unwrap();
    tokio::spawn(conn);
    Raw { server, send }
}

impl Raw {
    async fn ask(&self, request: Request<()>) -> Result<StatusCode, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, _stream) = send.send_request(request, false)?;
        let response = timeout(Duration::from_secs(5), response)
            .await
            .expect("an answer in time")?;
        Ok(response.status())
    }

    async fn connect(&self, authority: &str) -> Result<StatusCode, h2::Error> {
        self.ask(connect_request(authority)).await
    }
}

fn connect_request(authority: &str) -> Request<()> {
    let uri = Uri::builder().authority(authority).build().unwrap();
    Request::builder()
        .method(Method::CONNECT)
        .uri(uri)
        .body(())
        .unwrap()
}

#[tokio::test]
async fn a_stream_works_with_a_plain_http2_client() {
    let raw = raw().await;
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut send = raw.send.clone().ready().await.unwrap();
    let (response, mut up) = send
        .send_request(
            connect_request(&app.local_addr().unwrap().to_string()),
            false,
        )
        .unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["baggage"], "k=v");
    let (app, _) = app.accept().await.unwrap();
    up.send_data(Bytes::from_static(b"ping"), true).unwrap();
    let (mut read, mut write) = app.into_split();
    let mut got = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut read, &mut got)
        .await
        .unwrap();
    assert_eq!(got, "ping");
    tokio::io::AsyncWriteExt::write_all(&mut write, b"pong")
        .await
        .unwrap();
    drop((read, write));
    let mut body = response.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "pong");
    // The end may come in a frame of its own.
    while let Some(more) = body.data().await {
        assert_eq!(more.unwrap(), "", "a clean end");
    }
}

#[tokio::test]
async fn other_methods_are_answered_with_400() {
    let mut raw = raw().await;
    let get = Request::get("https://web.test/").body(()).unwrap();
    assert_eq!(raw.ask(get).await.unwrap(), StatusCode::BAD_REQUEST);
    assert_eq!(
        raw.server.malformed.recv().await,
        Some("the method is not CONNECT")
    );
}

#[tokio::test]
async fn bad_authorities_are_answered_with_400() {
    let mut raw = raw().await;
    for authority in [
        "web",
        "10.0.0.1",
        "[fd00::1]",
        "web:99999",
        "10.0.0.1:-1",
        "[fd00::1%25eth0]:80",
    ] {
        let Ok(uri) = Uri::builder().authority(authority).build() else {
            continue;
        };
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(uri)
            .body(())
            .unwrap();
        assert_eq!(
            raw.ask(request).await.unwrap(),
            StatusCode::BAD_REQUEST,
            "{authority}"
        );
        assert!(raw.server.malformed.recv().await.is_some());
    }
    // The connection has survived all of that.
    assert_eq!(
        raw.connect("127.0.0.1:9").await.unwrap(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn oversized_headers_are_refused_and_the_connection_lives() {
    let raw = raw().await;
    let mut request = connect_request("127.0.0.1:9");
    request
        .headers_mut()
        .insert("x-large", "x".repeat(64 << 10).parse().unwrap());
    match raw.ask(request).await {
        Ok(status) => assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(e) => assert!(e.is_reset() || e.is_library() || e.is_go_away(), "{e:?}"),
    }
}

#[tokio::test]
async fn streams_over_the_limit_wait_for_their_turn() {
    let raw = raw().await;
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = app.local_addr().unwrap().to_string();
    assert_eq!(raw.connect(&authority).await.unwrap(), StatusCode::OK);
    assert_eq!(
        raw.send.current_max_send_streams(),
        support::limits().streams_per_connection * 2
    );
    assert_eq!(raw.server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_handshake_takes_the_hybrid_group_and_the_classic_ones() {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    let ca = Ca::new();
    for group in [
        kx_group::X25519MLKEM768,
        kx_group::X25519,
        kx_group::SECP256R1,
    ] {
        let mut server = server_for_browsers(&ca).await;
        let provider = rustls::crypto::CryptoProvider {
            kx_groups: vec![group],
            ..default_provider()
        };
        let tls12 = ClientConfig::builder_with_provider(provider.clone().into())
            .with_protocol_versions(&[&rustls::version::TLS12]);
        if let Ok(builder) = tls12 {
            assert!(
                handshake(builder, &ca, &server).await.is_err(),
                "TLS 1.2 was taken with {:?}",
                group.name()
            );
            let end = server.ends.recv().await.unwrap();
            assert!(
                matches!(end, Err(warren_hbone::HandshakeError::NotTls(_))),
                "{end:?}"
            );
        }
        let server = server_for_browsers(&ca).await;
        let tls13 = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13]);
        let negotiated = handshake(tls13.unwrap(), &ca, &server).await.unwrap();
        assert_eq!(negotiated, group.name());
    }
}

/// An ordinary client checks a DNS name, so the server's certificate has one here.
async fn server_for_browsers(ca: &Ca) -> Server {
    let name = rcgen::SanType::DnsName("web.test".try_into().unwrap());
    let cert = ca.issue_with(&spiffe("web"), |p| p.subject_alt_names.push(name));
    Server::start(ca, cert).await
}

async fn handshake(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
    ca: &Ca,
    server: &Server,
) -> std::io::Result<rustls::NamedGroup> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.root.clone()).unwrap();
    let (chain, key) = ca.issue_raw(&[&spiffe("shopper")], |_| {});
    let mut config = builder
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(server.addr).await?;
    let name = rustls::pki_types::ServerName::try_from("web.test").unwrap();
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, tcp)
        .await?;
    Ok(tls
        .get_ref()
        .1
        .negotiated_key_exchange_group()
        .unwrap()
        .name())
}
