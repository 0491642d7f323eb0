//! The webhook of the real binary: its limits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use warren_admin::types::ConfigView;

use crate::admission::{object, review};
use crate::policy_compile::policy;
use crate::support::process::Controller;
use crate::xds_raw::connect;

struct Served {
    controller: Controller,
    address: SocketAddr,
}

impl Served {
    async fn start() -> Self {
        let controller = Controller::start(&[], &["--webhook-addr", "127.0.0.1:0"]).await;
        let config: ConfigView = controller.get("/config").await;
        let address = config.0["bound-webhook"].as_str().expect("an address");
        let address = address.parse().expect("address");
        Self {
            controller,
            address,
        }
    }

    async fn open(&self) -> TlsStream<TcpStream> {
        connect(&self.controller, self.address, b"http/1.1").await
    }

    /// Sends a head and a body on a connection of its own; the answer.
    async fn send(&self, head: &str, body: &[u8]) -> String {
        let mut stream = self.open().await;
        let head = format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        // It may answer, and close, before it has read everything.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        let _ = read.expect("an answer in time");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn post(&self, body: &[u8]) -> String {
        let length = body.len();
        let head = format!("POST /validate?timeout=5s HTTP/1.1\r\ncontent-length: {length}");
        self.send(&head, body).await
    }
}

fn create(spec: &str) -> Vec<u8> {
    let object = object(&policy("shop", "p", spec));
    review("CREATE", object, Value::Null)
        .to_string()
        .into_bytes()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

#[tokio::test]
async fn reviews_are_answered_and_garbage_is_refused() {
    let served = Served::start().await;
    let answer = served.post(&create("rulez: []")).await;
    assert_eq!(status(&answer), "200", "{answer}");
    let message = &body(&answer)["response"]["status"]["message"];
    let expected =
        "AuthorizationPolicy shop/p: unknown field spec.rulez; correct its name or its indentation";
    assert_eq!(*message, json!(expected));
    let answer = served
        .post(&create("selector: {matchLabels: {app: x}}"))
        .await;
    assert_eq!(body(&answer)["response"]["allowed"], true);
    let warning = &body(&answer)["response"]["warnings"][0];
    assert!(warning.to_string().contains("chooses no pod"), "{warning}");

    for garbage in [&b""[..], b"{}", b"\xff\xfe", &b"[".repeat(1 << 20)] {
        assert_eq!(status(&served.post(garbage).await), "400");
    }
    let huge = vec![b' '; (3 << 20) + 1];
    assert_eq!(status(&served.post(&huge).await), "413");
    let mut chunked = format!("{:x}\r\n", huge.len()).into_bytes();
    chunked.extend(huge.iter().chain(b"\r\n0\r\n\r\n"));
    let head = "POST /validate HTTP/1.1\r\ntransfer-encoding: chunked";
    assert_eq!(status(&served.send(head, &chunked).await), "413");
    let largest = [create("rules: []"), vec![b' '; 2 << 20]].concat();
    assert_eq!(status(&served.post(&largest).await), "200");
    for (head, expected) in [
        ("GET /validate HTTP/1.1", "405"),
        ("POST /other HTTP/1.1\r\ncontent-length: 0", "404"),
        ("NONSENSE", "400"),
    ] {
        assert_eq!(status(&served.send(head, b"").await), expected, "{head}");
    }
    let metrics = served.controller.metrics().await;
    for line in [
        "admission_reviews_total{verdict=\"allowed\"} 2",
        "admission_reviews_total{verdict=\"refused\"} 1",
        "admission_reviews_total{verdict=\"failed\"} 8",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

/// Bodies that do not come have an end, and those who mean it get their turn.
#[tokio::test]
async fn slow_clients_hold_up_nobody_for_long() {
    let served = Served::start().await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = served.open().await;
        let head = format!(
            "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{{",
            3 << 20
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        slow.push(stream);
    }
    let started = Instant::now();
    loop {
        let answer = served.post(&create("rulez: []")).await;
        if status(&answer) == "200" {
            break;
        }
        assert_eq!(status(&answer), "503", "{answer}");
        assert!(started.elapsed() < Duration::from_secs(30), "{answer}");
    }
    let mut answer = [0; 12];
    slow[0].read_exact(&mut answer).await.expect("an answer");
    assert_eq!(status(&String::from_utf8_lossy(&answer)), "503");
    drop(slow);
    assert_eq!(status(&served.post(&create("rulez: []")).await), "200");
}

#[tokio::test]
async fn a_connection_carries_several_reviews_until_the_end() {
    let mut served = Served::start().await;
    let mut stream = served.open().await;
    let body = create("rules: []");
    for _ in 0..3 {
        let head = format!(
            "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(&[head.as_bytes(), &body].concat())
            .await
            .expect("sent");
        let mut answer = vec![0; 8_192];
        let length = stream.read(&mut answer).await.expect("an answer");
        assert_eq!(status(&String::from_utf8_lossy(&answer[..length])), "200");
    }
    let started = Instant::now();
    assert!(served.controller.terminate().success());
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "an idle connection holds nothing up"
    );
}
