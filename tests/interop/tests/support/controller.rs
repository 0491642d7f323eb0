//! A controller that says what a test wants it to say.
#![allow(dead_code, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use warren_interop::h2::{Conn, Event, Settings};
use warren_interop::pki::{Ca, Forgery};
use warren_interop::proto::{Value, Writer, fields};
use warren_interop::tls::{Groups, provider};

pub const NAME: &str = "web.shop.svc";
pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub url: String,
    pub has_node: bool,
    pub subscribe: Vec<String>,
    pub unsubscribe: Vec<String>,
    pub versions: Vec<(String, String)>,
    pub nonce: String,
    pub refused: bool,
}

impl Asked {
    fn read(message: &[u8]) -> Self {
        let mut asked = Self::default();
        for (number, value) in fields(message).unwrap() {
            match number {
                1 => asked.has_node = true,
                2 => asked.url = value.as_text().unwrap(),
                3 => asked.subscribe.push(value.as_text().unwrap()),
                4 => asked.unsubscribe.push(value.as_text().unwrap()),
                5 => asked.versions.push(entry(value)),
                6 => asked.nonce = value.as_text().unwrap(),
                7 => asked.refused = true,
                _ => panic!("field {number}"),
            }
        }
        asked
    }
}

fn entry(value: Value<'_>) -> (String, String) {
    let parts = fields(value.as_bytes().unwrap()).unwrap();
    let text = |n| {
        parts
            .iter()
            .find(|p| p.0 == n)
            .map_or(String::new(), |p| p.1.as_text().unwrap())
    };
    (text(1), text(2))
}

/// A response with these resources (name, version, message) and removed names.
pub fn response(
    url: &str,
    resources: &[(&str, &str, Vec<u8>)],
    removed: &[&str],
    nonce: &str,
) -> Vec<u8> {
    let mut out = Writer::default();
    for (name, version, message) in resources {
        out.message(2, |resource| {
            resource
                .string(1, version)
                .string(3, name)
                .message(2, |any| {
                    any.string(1, url).bytes(2, message);
                });
        });
    }
    out.string(4, url).string(5, nonce);
    for name in removed {
        out.string(6, name);
    }
    out.bytes
}

type Answer = dyn Fn(&Asked, usize) -> Vec<Vec<u8>> + Send + Sync;

/// Serves; returns its port and what it was asked so far. `answer` gets each request and the number of its connection.
pub async fn serve(ca: &Ca, answer: Arc<Answer>) -> (u16, Arc<Mutex<Vec<Asked>>>) {
    let id = ca.forge(Forgery::DnsOnly, "").unwrap();
    let mut config = ServerConfig::builder_with_provider(provider(Groups::Any))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(id.chain, id.key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = log.clone();
    tokio::spawn(async move {
        for at in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(tls) = acceptor.accept(tcp).await else {
                continue;
            };
            let conn = Conn::server(tls, &Settings::stock()).await.unwrap();
            tokio::spawn(one(conn, answer.clone(), kept.clone(), at));
        }
    });
    (port, log)
}

async fn one(mut conn: Conn, answer: Arc<Answer>, log: Arc<Mutex<Vec<Asked>>>, at: usize) {
    let mut buffer = Vec::new();
    while let Ok(event) = conn.next(Duration::from_secs(30)).await {
        match event {
            Event::Headers { stream, fields, .. } => {
                assert!(
                    fields
                        .iter()
                        .any(|(n, v)| n == "authorization" && v == "Bearer secret")
                );
                let head = [(":status", "200"), ("content-type", "application/grpc")];
                conn.headers(stream, &head, false).await.unwrap();
            }
            Event::Data { stream, bytes, .. } => {
                // A client that reconnects may be gone by now; what it sent still counts.
                let _ = conn.credit(stream, bytes.len()).await;
                buffer.extend(bytes);
                while let Some(message) = taken(&mut buffer) {
                    let asked = Asked::read(&message);
                    log.lock().unwrap().push(asked.clone());
                    for message in answer(&asked, at) {
                        let framed =
                            [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
                        let _ = conn
                            .send_all(stream, &framed, false, Duration::from_secs(5), drop)
                            .await;
                    }
                }
            }
            _ => {}
        }
    }
}

fn taken(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().unwrap()) as usize;
    (buffer.len() >= 5 + length).then(|| buffer.drain(..5 + length).skip(5).collect())
}
