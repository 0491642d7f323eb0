//! Delta xDS by hand: HTTP/2 frames carry gRPC messages whose protobuf fields are written and read here, byte by byte. It
//! shows that the wire is what others expect, with none of our generated code on the client's side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::model::{meshed, pod};
use crate::support::process::Controller;

const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A field: number, and content as length-delimited bytes or varint.
#[derive(Debug)]
enum Value {
    Bytes(Bytes),
    Number(u64),
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn field(number: u32, content: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 2), out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn read_varint(buf: &mut Bytes) -> u64 {
    let (mut n, mut shift) = (0, 0);
    loop {
        let b = buf.get_u8();
        n |= u64::from(b & 0x7f) << shift;
        shift += 7;
        if b & 0x80 == 0 {
            return n;
        }
    }
}

fn fields(mut buf: Bytes) -> Vec<(u32, Value)> {
    let mut found = Vec::new();
    while buf.has_remaining() {
        let key = read_varint(&mut buf);
        let value = match key & 7 {
            0 => Value::Number(read_varint(&mut buf)),
            2 => {
                let length = read_varint(&mut buf) as usize;
                Value::Bytes(buf.split_to(length))
            }
            kind => panic!("wire type {kind}"),
        };
        found.push(((key >> 3) as u32, value));
    }
    found
}

fn bytes_of(fields: &[(u32, Value)], number: u32) -> Vec<Bytes> {
    let of = |(n, v): &(u32, Value)| match v {
        Value::Bytes(b) if *n == number => Some(b.clone()),
        _ => None,
    };
    fields.iter().filter_map(of).collect()
}

fn text(fields: &[(u32, Value)], number: u32) -> String {
    bytes_of(fields, number)
        .first()
        .map(|b| String::from_utf8(b.to_vec()).expect("UTF-8"))
        .unwrap_or_default()
}

fn number(fields: &[(u32, Value)], wanted: u32) -> Option<u64> {
    fields.iter().find_map(|(n, v)| match v {
        Value::Number(v) if *n == wanted => Some(*v),
        _ => None,
    })
}

/// A DeltaDiscoveryRequest in a gRPC frame; the node is that of a stock tunnel.
fn request(type_url: &str, node: bool, nonce: &str) -> Bytes {
    let mut message = Vec::new();
    if node {
        let mut id = Vec::new();
        field(
            1,
            b"ztunnel~10.0.0.1~ztunnel-a.warren-system~warren-system.svc.cluster.local",
            &mut id,
        );
        field(1, &id, &mut message);
    }
    field(2, type_url.as_bytes(), &mut message);
    if !nonce.is_empty() {
        field(6, nonce.as_bytes(), &mut message);
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// A TLS connection to one of the controller's addresses.
pub async fn connect(
    controller: &Controller,
    address: SocketAddr,
    protocol: &[u8],
) -> TlsStream<TcpStream> {
    let pem = std::fs::read(controller.root()).expect("root");
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).expect("PEM"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(address).await.expect("connect");
    let name = ServerName::try_from("localhost").expect("name");
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .expect("TLS")
}

struct Raw {
    requests: mpsc::Sender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
}

impl Raw {
    async fn open(controller: &Controller) -> Self {
        let tls = connect(controller, controller.xds, b"h2").await;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
        let (mut sender, connection) = handshake.await.expect("HTTP/2");
        tokio::spawn(connection);
        let (requests, receiver) = mpsc::channel::<Bytes>(8);
        let frames = ReceiverStream::new(receiver)
            .map(|b| Ok::<_, std::convert::Infallible>(Frame::data(b)));
        let request = http::Request::post(format!("https://localhost{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header(
                "authorization",
                format!("Bearer {}", controller.issuer.tunnel("a")),
            )
            .header("clusterid", "Kubernetes")
            .body(StreamBody::new(frames))
            .expect("request");
        let response = sender.send_request(request).await.expect("response");
        assert_eq!(response.status(), 200);
        Self {
            requests,
            body: response.into_body(),
            buffer: BytesMut::new(),
        }
    }

    /// The fields of the next DeltaDiscoveryResponse.
    async fn next(&mut self) -> Vec<(u32, Value)> {
        loop {
            if self.buffer.len() >= 5 {
                let length =
                    u32::from_be_bytes(self.buffer[1..5].try_into().expect("four")) as usize;
                if self.buffer.len() >= 5 + length {
                    assert_eq!(self.buffer[0], 0, "not compressed");
                    self.buffer.advance(5);
                    return fields(self.buffer.split_to(length).freeze());
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(5), self.body.frame()).await;
            let frame = frame.expect("within 5 s").expect("open").expect("no error");
            self.buffer
                .extend_from_slice(&frame.into_data().expect("data, no trailers"));
        }
    }
}

#[tokio::test]
async fn a_hand_written_client_understands_every_byte() {
    let text_of_policy = "apiVersion: warren.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {action: DENY, selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {ports: [\"8080\"]}}]}]}
";
    let all = meshed("shop") + &pod("shop", "web-1", "web", "10.0.0.1", 8080) + text_of_policy;
    let controller = Controller::start(&[("all.yaml", &all)], &[]).await;
    let mut raw = Raw::open(&controller).await;
    raw.requests
        .send(request(ADDRESS, true, ""))
        .await
        .expect("open");
    raw.requests
        .send(request(AUTHORIZATION, true, ""))
        .await
        .expect("open");

    let first = raw.next().await;
    assert_eq!(text(&first, 4), AUTHORIZATION);
    let policy = fields(bytes_of(&first, 2).remove(0));
    assert_eq!(text(&policy, 3), "shop/p");
    assert!(!text(&policy, 1).is_empty(), "a version");
    let any = fields(bytes_of(&policy, 2).remove(0));
    assert_eq!(text(&any, 1), AUTHORIZATION);
    let policy = fields(bytes_of(&any, 2).remove(0));
    assert_eq!(
        (text(&policy, 1), text(&policy, 2)),
        ("p".into(), "shop".into())
    );
    assert_eq!(
        (number(&policy, 3), number(&policy, 4)),
        (Some(2), Some(1)),
        "WORKLOAD_SELECTOR, DENY"
    );
    let rule = fields(bytes_of(&policy, 5).remove(0));
    let clause = fields(bytes_of(&rule, 1).remove(0));
    let one = fields(bytes_of(&clause, 1).remove(0));
    assert_eq!(
        bytes_of(&one, 9),
        [Bytes::from_static(&[0x90, 0x3f])],
        "packed destination_ports [8080]"
    );

    let second = raw.next().await;
    assert_eq!(text(&second, 4), ADDRESS);
    let resource = fields(bytes_of(&second, 2).remove(0));
    assert_eq!(
        (text(&resource, 3), text(&resource, 4)),
        ("Kubernetes//Pod/shop/web-1".into(), "/10.0.0.1".into())
    );
    let any = fields(bytes_of(&resource, 2).remove(0));
    let address = fields(bytes_of(&any, 2).remove(0));
    let workload = fields(bytes_of(&address, 1).remove(0));
    assert_eq!(text(&workload, 20), "Kubernetes//Pod/shop/web-1");
    assert_eq!(
        (text(&workload, 1), text(&workload, 2)),
        ("web-1".into(), "shop".into())
    );
    assert_eq!(bytes_of(&workload, 3), [Bytes::from_static(&[10, 0, 0, 1])]);
    assert_eq!(
        (text(&workload, 7), text(&workload, 9)),
        ("web".into(), "a".into())
    );
    assert_eq!(number(&workload, 5), Some(1), "HBONE");
    assert_eq!(text(&workload, 16), "shop/p");

    let nonce = text(&second, 5);
    assert_ne!(
        (nonce.as_str(), nonce.as_str()),
        ("", text(&first, 5).as_str())
    );
    raw.requests
        .send(request(ADDRESS, false, &nonce))
        .await
        .expect("open");
    std::fs::remove_file(controller.manifest("all.yaml")).expect("remove");
    let third = raw.next().await;
    assert_eq!(
        bytes_of(&third, 6),
        [Bytes::from_static(b"Kubernetes//Pod/shop/web-1")]
    );
    assert_eq!(
        controller.status().await.clients[0].id.split('~').next(),
        Some("ztunnel")
    );
}

#[tokio::test]
async fn random_bytes_close_the_connection_and_disturb_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let controller = Controller::start(&[("a.yaml", &meshed("shop"))], &[]).await;
    for size in [1, 100, 100_000] {
        let mut tcp = TcpStream::connect(controller.xds).await.expect("connect");
        let noise: Vec<u8> = (0..size).map(|_| rand::random()).collect();
        // The server may have closed before all of it was written.
        let _ = tcp.write_all(&noise).await;
        let _ = tcp.shutdown().await;
        let end =
            tokio::time::timeout(Duration::from_secs(12), tcp.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "{size} bytes: still open");
    }
    let mut raw = Raw::open(&controller).await;
    let mut garbage = vec![0, 0, 0, 0, 8];
    garbage.extend_from_slice(&[0xff; 8]);
    raw.requests.send(garbage.into()).await.expect("open");
    let frame = tokio::time::timeout(Duration::from_secs(5), raw.body.frame())
        .await
        .expect("within 5 s");
    let trailers = frame
        .expect("trailers")
        .expect("no error")
        .into_trailers()
        .expect("trailers");
    assert_eq!(trailers["grpc-status"], "3", "INVALID_ARGUMENT");
    assert!(controller.status().await.ready);
}
