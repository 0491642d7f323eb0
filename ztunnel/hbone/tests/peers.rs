//! Who is let in: every refusal has its reason, on the side that refuses.

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use support::{Ca, Client, Server, id, limits, spiffe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use warren_hbone::{Expect, HandshakeError, OpenError, PeerRefusal, Trust, WorkloadCert};

const TARGET: &str = "127.0.0.1:9";

async fn server_end(server: &mut Server) -> HandshakeError {
    let end = timeout(Duration::from_secs(5), server.ends.recv())
        .await
        .expect("in time");
    end.expect("the server runs")
        .expect_err("the connection was refused")
}

fn hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

/// Both sides' reasons when a client with `cert` connects.
async fn refused_client(ca: &Ca, cert: WorkloadCert) -> (PeerRefusal, OpenError) {
    let mut server = Server::start(ca, ca.issue(&spiffe("web"))).await;
    let client = Client::new(ca, cert, Expect::one(id("web")));
    let client_error = client
        .open(server.addr, TARGET)
        .await
        .err()
        .expect("refused");
    match server_end(&mut server).await {
        HandshakeError::Refused(r) => (r, client_error),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// The client's reason when it connects to a server with `cert`.
async fn refused_server(ca: &Ca, trust: Arc<Trust>, cert: WorkloadCert) -> PeerRefusal {
    let server = Server::start_with(trust, cert, limits()).await;
    let client = Client::new(ca, ca.issue(&spiffe("shopper")), Expect::one(id("web")));
    match client.open(server.addr, TARGET).await.err() {
        Some(OpenError::Handshake(HandshakeError::Refused(r))) => r,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn an_expired_client_is_refused_and_learns_of_it() {
    let ca = Ca::new();
    let cert = ca.issue_with(&spiffe("shopper"), |p| {
        p.not_after = (SystemTime::now() - Duration::from_secs(5)).into()
    });
    let (reason, client) = refused_client(&ca, cert).await;
    assert_eq!(reason, PeerRefusal::Expired);
    assert!(
        matches!(client, OpenError::Handshake(HandshakeError::Alert(_))),
        "{client:?}"
    );
}

#[tokio::test]
async fn a_client_of_the_future_is_refused() {
    let ca = Ca::new();
    let cert = ca.issue_with(&spiffe("shopper"), |p| {
        p.not_before = (SystemTime::now() + Duration::from_secs(600)).into()
    });
    assert_eq!(refused_client(&ca, cert).await.0, PeerRefusal::NotYetValid);
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let cert = Ca::new().issue(&spiffe("shopper"));
    assert_eq!(
        refused_client(&Ca::new(), cert).await.0,
        PeerRefusal::UnknownIssuer
    );
}

#[tokio::test]
async fn a_client_of_another_trust_domain_is_refused() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let foreign = ca.issue_raw(&["spiffe://elsewhere.test/ns/shop/sa/shopper"], |_| {});
    let mut tls = bare_client(&ca, server.addr, &[b"h2"], Some(foreign))
        .await
        .expect("the client goes first");
    assert!(tls.read(&mut [0]).await.is_err());
    let end = server_end(&mut server).await;
    let expected = PeerRefusal::WrongTrustDomain {
        expected: "cluster.local".into(),
        got: "elsewhere.test".into(),
    };
    assert!(
        matches!(&end, HandshakeError::Refused(r) if *r == expected),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_server_of_another_trust_domain_is_refused() {
    let ca = Ca::new();
    let reason = refused_server(
        &ca,
        ca.trust(),
        ca.issue("spiffe://elsewhere.test/ns/shop/sa/web"),
    )
    .await;
    assert_eq!(reason.label(), "wrong_trust_domain");
}

#[tokio::test]
async fn a_self_signed_client_is_refused() {
    let ca = Ca::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(spiffe("shopper").try_into().unwrap())];
    let der = params.self_signed(&key).unwrap().der().clone();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let cert = WorkloadCert::new(vec![der], key).unwrap();
    assert_eq!(
        refused_client(&ca, cert).await.0,
        PeerRefusal::UnknownIssuer
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let mut tls = bare_client(&ca, server.addr, &[b"h2"], None)
        .await
        .expect("TLS 1.3 lets the client go first");
    let mut byte = [0];
    assert!(tls.read(&mut byte).await.is_err());
    let end = server_end(&mut server).await;
    assert!(
        matches!(
            end,
            HandshakeError::Refused(PeerRefusal::MissingCertificate)
        ),
        "{end:?}"
    );
}

/// A client goes first in TLS 1.3: what it has sent by then must not turn the answer into a reset.
#[tokio::test]
async fn a_refused_client_that_goes_on_sending_gets_the_alert() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let mut tls = bare_client(&ca, server.addr, &[b"h2"], None)
        .await
        .expect("the client goes first");
    for _ in 0..8 {
        tls.write_all(&[0; 4096]).await.expect("it is still read");
        tls.flush().await.expect("it is still read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = tls.read(&mut [0]).await.expect_err("refused");
    assert!(
        error.to_string().contains("CertificateRequired"),
        "{error:?}"
    );
    drop(tls);
    server_end(&mut server).await;
}

#[tokio::test]
async fn a_refused_client_that_never_stops_is_left_in_time() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let mut tls = bare_client(&ca, server.addr, &[b"h2"], None)
        .await
        .expect("the client goes first");
    let began = tokio::time::Instant::now();
    let sending =
        async { while tls.write_all(&[0; 4096]).await.is_ok() && tls.flush().await.is_ok() {} };
    timeout(Duration::from_secs(5), sending)
        .await
        .expect("cut off");
    assert!(began.elapsed() < Duration::from_millis(1500));
    server_end(&mut server).await;
}

#[tokio::test]
async fn certificates_need_exactly_one_identity() {
    let ca = Ca::new();
    let two = [spiffe("a"), spiffe("b")];
    for uris in [
        vec![],
        vec!["https://example.test"],
        two.iter().map(String::as_str).collect(),
    ] {
        let (chain, key) = ca.issue_raw(&uris, |_| {});
        let refused = WorkloadCert::new(chain, key).expect_err("not usable");
        assert!(
            refused.to_string().contains("identity"),
            "{uris:?}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_who_was_asked_for_is_refused() {
    let ca = Ca::new();
    let reason = refused_server(&ca, ca.trust(), ca.issue(&spiffe("impostor"))).await;
    assert!(
        matches!(&reason, PeerRefusal::UnexpectedIdentity { got, .. } if *got == id("impostor")),
        "{reason:?}"
    );
}

#[tokio::test]
async fn an_expired_server_is_refused() {
    let ca = Ca::new();
    let cert = ca.issue_with(&spiffe("web"), |p| {
        p.not_before = (hour_ago() - Duration::from_secs(60)).into();
        p.not_after = hour_ago().into();
    });
    assert_eq!(
        refused_server(&ca, ca.trust(), cert).await,
        PeerRefusal::Expired
    );
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let other = Ca::new();
    let cert = other.issue(&spiffe("web"));
    assert_eq!(
        refused_server(&Ca::new(), other.trust(), cert).await,
        PeerRefusal::UnknownIssuer
    );
}

#[tokio::test]
async fn new_roots_hold_for_new_connections_and_leave_old_ones_alone() {
    let (old, new) = (Ca::new(), Ca::new());
    let server = Server::start(&old, old.issue(&spiffe("web"))).await;
    let app = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&old, old.issue(&spiffe("shopper")), Expect::one(id("web")));
    let mut stream = client.tunnel(server.addr, app.local_addr().unwrap()).await;
    let (mut peer, _) = app.accept().await.unwrap();
    client
        .trust
        .replace(std::slice::from_ref(&new.root))
        .unwrap();
    let refused = client
        .dial(server.addr)
        .await
        .err()
        .expect("the old root is no longer trusted");
    assert_eq!(refused.label(), "unknown_issuer");
    stream.write_all(b"x").await.unwrap();
    assert_eq!(peer.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn garbage_on_the_port_is_refused() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut tcp = TcpStream::connect(server.addr).await.unwrap();
        tcp.write_all(garbage).await.unwrap();
        let end = server_end(&mut server).await;
        assert!(matches!(end, HandshakeError::NotTls(_)), "{end:?}");
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_dropped_in_time() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let _silent = TcpStream::connect(server.addr).await.unwrap();
    let end = server_end(&mut server).await;
    assert!(matches!(end, HandshakeError::Timeout), "{end:?}");
}

#[tokio::test]
async fn a_peer_that_sends_byte_by_byte_is_dropped_in_time() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let mut slow = TcpStream::connect(server.addr).await.unwrap();
    let drip = tokio::spawn(async move {
        for byte in [0x16u8, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]
            .into_iter()
            .chain(std::iter::repeat(7))
        {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let end = server_end(&mut server).await;
    assert!(matches!(end, HandshakeError::Timeout), "{end:?}");
    timeout(Duration::from_secs(5), drip)
        .await
        .expect("the connection was closed")
        .unwrap();
}

#[tokio::test]
async fn a_member_that_never_asks_for_anything_is_dropped_in_time() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let client = Client::new(&ca, ca.issue(&spiffe("shopper")), Expect::one(id("web")));
    let _tls = client.dial(server.addr).await.unwrap();
    let end = server_end(&mut server).await;
    assert!(matches!(end, HandshakeError::Timeout), "{end:?}");
}

#[tokio::test]
async fn a_peer_without_http2_is_refused() {
    let ca = Ca::new();
    let mut server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    assert!(
        bare_client(&ca, server.addr, &[b"http/1.1"], None)
            .await
            .is_err()
    );
    let end = server_end(&mut server).await;
    assert!(matches!(end, HandshakeError::NoAlpn), "{end:?}");
}

/// Takes every server.
#[derive(Debug)]
struct Anyone;
impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A TLS client that checks nothing, and shows no certificate or this one.
async fn bare_client(
    ca: &Ca,
    addr: SocketAddr,
    alpn: &[&[u8]],
    cert: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match cert {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    };
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anyone));
    config.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
    let tcp = TcpStream::connect(addr).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("any.test").unwrap(), tcp)
        .await
}
