//! The admin server and its client, over Unix socket and TCP.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use warren_admin::types::{ComponentStatus, LogLevel, WorkloadView};
use warren_admin::{Admin, Client, ClientError, Format, RouteError, logging};

const LIMIT: Duration = Duration::from_secs(20);

fn admin() -> Admin {
    let mut registry = Registry::default();
    registry.register("flows", "Flows", Counter::<u64>::default());
    Admin::new("agent")
        .route("/status", || async { ComponentStatus::new("agent") })
        .try_route("/workloads", || async {
            Err::<Vec<WorkloadView>, _>(RouteError::unavailable("not synchronised yet"))
        })
        .put("/echo", |body: LogLevel| async move {
            Ok::<_, RouteError>(body)
        })
        .ready(|| Err("the controller's first answer".to_owned()))
        .metrics(Arc::new(registry))
}

#[tokio::test]
async fn answers_over_a_unix_socket() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("agent-admin.sock");
    let client = Client::unix(&path);
    let error = client
        .get::<ComponentStatus>("/status")
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");

    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    admin().serve_unix(&path).expect("serve");
    assert_eq!(
        std::fs::metadata(&path)
            .expect("metadata")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let status: ComponentStatus = client.get("/status").await.expect("an answer");
    assert_eq!(
        (status.component.as_str(), status.pid, status.ready),
        ("agent", std::process::id(), true)
    );

    let error = client
        .get::<Vec<WorkloadView>>("/workloads")
        .await
        .expect_err("503");
    assert!(
        error.to_string().contains("not synchronised yet"),
        "{error}"
    );
    let error = client
        .get::<Vec<WorkloadView>>("/maps")
        .await
        .expect_err("404");
    assert!(
        matches!(&error, ClientError::NoEndpoint(text) if text.contains("/status")),
        "{error}"
    );
    let error = client
        .get::<LogLevel>("/status")
        .await
        .expect_err("another shape");
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    let error = client
        .put::<_, LogLevel>("/status", &1)
        .await
        .expect_err("405");
    assert!(error.to_string().contains("only GET"), "{error}");
    let level = LogLevel {
        filter: "debug".into(),
    };
    assert_eq!(
        client
            .put::<_, LogLevel>("/echo", &level)
            .await
            .expect("an answer"),
        level
    );
    let error = client
        .put::<_, LogLevel>("/echo", &1)
        .await
        .expect_err("400");
    assert!(
        matches!(error, ClientError::Refused { status, .. } if status == 400),
        "{error}"
    );
    let text = client.get_text("/metrics").await.expect("metrics");
    assert!(
        text.contains("flows_total 0") && text.trim_end().ends_with("# EOF"),
        "{text}"
    );
}

#[tokio::test]
async fn a_file_in_the_way_is_kept() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("file");
    std::fs::write(&path, "precious").expect("write");
    assert!(admin().serve_unix(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "precious");
}

#[tokio::test]
async fn answers_over_tcp() {
    let address = admin()
        .serve_tcp("127.0.0.1:0".parse().expect("an address"))
        .await
        .expect("serve");
    let ask = async |request: &str| {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(LIMIT, read).await.expect("in time").expect("read");
        answer
    };
    let close = "Host: x\r\nConnection: close\r\n\r\n";
    let ready = ask(&format!("GET /healthz/ready HTTP/1.1\r\n{close}")).await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("first answer"),
        "{ready}"
    );
    let metrics = ask(&format!("GET /metrics HTTP/1.1\r\n{close}")).await;
    assert!(
        metrics.contains("content-type: application/openmetrics-text"),
        "{metrics}"
    );
    assert!(ask("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let big = "x".repeat(100_000);
    let length = big.len();
    let put = format!("PUT /echo HTTP/1.1\r\nContent-Length: {length}\r\n{close}{big}");
    assert!(
        ask(&put).await.starts_with("HTTP/1.1 400"),
        "bodies are limited"
    );
}

#[tokio::test]
async fn idle_connections_do_not_keep_others_out() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("agent-admin.sock");
    admin().serve_unix(&path).expect("serve");
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(UnixStream::connect(&path).await.expect("connect"));
    }
    // More than are served at once; each loses its place when it sends no header in time.
    let asked = async {
        loop {
            if let Ok(status) = Client::unix(&path).get::<ComponentStatus>("/status").await {
                return status;
            }
        }
    };
    timeout(Duration::from_secs(40), asked)
        .await
        .expect("an answer once idle connections were closed");
}

#[tokio::test]
async fn log_level_can_be_changed() {
    let handle = logging::init("warn", Format::Json).expect("logging");
    assert!(logging::init("warn", Format::Text).is_err(), "only once");
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("agent-admin.sock");
    Admin::new("agent")
        .log_level(handle.clone())
        .serve_unix(&path)
        .expect("serve");
    let client = Client::unix(&path);
    let level: LogLevel = client.get("/log-level").await.expect("an answer");
    assert_eq!(level.filter, "warn");
    assert!(!tracing::enabled!(tracing::Level::DEBUG));
    let debug = LogLevel {
        filter: "info,server=debug".into(),
    };
    client
        .put::<_, LogLevel>("/log-level", &debug)
        .await
        .expect("changed");
    assert!(tracing::enabled!(target: "server", tracing::Level::DEBUG));
    for bad in ["", "server=loud"] {
        let level = LogLevel { filter: bad.into() };
        let error = client
            .put::<_, LogLevel>("/log-level", &level)
            .await
            .expect_err("no filter");
        assert!(error.to_string().contains("log filter"), "{error}");
    }
    assert_eq!(handle.get(), debug.filter, "the last good one stays");
}
