//! The admin surface and the command line of the real binary.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use warren_admin::types::{CertView, ConfigView, PolicyView, ServiceView, WorkloadView};

use crate::policy_compile::policy;
use crate::support::model::{meshed, pod};
use crate::support::process::Controller;

#[tokio::test]
async fn shows_what_the_controller_knows() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}}\n---\n";
    let bad = policy("shop", "bad", "rulez: []");
    let text = meshed("shop")
        + &pod("shop", "web-1", "web", "10.0.0.1", 8080)
        + service
        + &policy("shop", "p", "rules: [{to: [{operation: {paths: [/x]}}]}]")
        + &bad;
    let c = Controller::start(&[("all.yaml", &text)], &[]).await;
    let status = c.status().await;
    assert!(status.ready && status.component == "control");
    assert_eq!(status.details["workloads"], "1");
    assert_eq!(status.warnings, Some(2));
    let warnings = c.warnings().await;
    let line = u64::try_from(text.lines().count() - bad.lines().count() + 1).expect("fits");
    let unknown = warnings.iter().find(|w| w.name == "bad").expect("named");
    assert_eq!(
        (unknown.kind.as_str(), unknown.namespace.as_str()),
        ("AuthorizationPolicy", "shop")
    );
    assert_eq!(
        (unknown.file.as_deref(), unknown.line),
        (Some("all.yaml"), Some(line))
    );
    let http = warnings.iter().find(|w| w.name == "p").expect("named");
    assert!(http.reason.contains("cannot be checked at L4"), "{http:?}");
    assert_eq!(http.file.as_deref(), Some("all.yaml"));

    let workloads: Vec<WorkloadView> = c.get("/workloads").await;
    assert_eq!(
        (workloads.len(), workloads[0].protocol.as_str()),
        (1, "hbone")
    );
    let services: Vec<ServiceView> = c.get("/services").await;
    assert_eq!((services.len(), services[0].endpoints), (1, Some(1)));
    let policies: Vec<PolicyView> = c.get("/policies").await;
    assert_eq!(
        (policies.len(), policies[0].scope.as_str()),
        (1, "namespace")
    );
    let certs: Vec<CertView> = c.get("/certs").await;
    assert_eq!((certs.len(), certs[0].state.as_str()), (1, "root"));
    let config: ConfigView = c.get("/config").await;
    assert_eq!(config.0["cert-ttl"], "86400s");
    let metrics = c.metrics().await;
    for name in [
        "warren_control_published{resource=\"workload\"} 1",
        "warren_control_object_warnings 2",
        "warren_control_events_total 4",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
}

#[tokio::test]
async fn the_open_address_tells_metrics_and_readiness_and_nothing_else() {
    let c = Controller::start(&[], &["--metrics-addr", "127.0.0.1:0"]).await;
    let config: ConfigView = c.get("/config").await;
    let address = config.0["bound-metrics"].as_str().expect("an address");
    let cases = [
        ("GET /metrics", 200),
        ("GET /ready", 200),
        ("GET /workloads", 404),
        ("GET /config", 404),
        ("PUT /log-level", 404),
    ];
    for (question, expected) in cases {
        let answer = ask(address, question);
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.contains(&expected.to_string()), "{question}: {answer}");
    }
}

fn ask(address: &str, question: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(
        stream,
        "{question} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn bad_arguments_are_one_clear_error_and_status_2() {
    let cases: [(&[&str], &str); 5] = [
        (&[], "--source"),
        (
            &["--source", "/x", "--jwks", "/j"],
            "expected kubernetes or dir:PATH",
        ),
        (&["--source", "dir:/x"], "needs --jwks FILE"),
        (
            &["--source", "dir:/x", "--jwks", "/j", "--cert-ttl", "soon"],
            "not a duration",
        ),
        (
            &["--source", "dir:/x", "--jwks", "/j", "--log", "a=b=c"],
            "log filter",
        ),
    ];
    for (args, part) in cases {
        let out = Command::new(env!("CARGO_BIN_EXE_warren-control"))
            .args(args)
            .output()
            .expect("runs");
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(part), "{args:?}: {error}");
    }
}

#[test]
fn what_it_cannot_work_without_is_named() {
    let dir = tempfile::TempDir::new().expect("directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let out = Command::new(env!("CARGO_BIN_EXE_warren-control"))
        .args([
            "--source",
            &format!("dir:{}", at("gone")),
            "--jwks",
            &at("jwks"),
            "--state-dir",
            &at("state"),
        ])
        .args([
            "--run-dir",
            &at("run"),
            "--xds-addr",
            "127.0.0.1:0",
            "--debug-addr",
            "127.0.0.1:0",
        ])
        .output()
        .expect("runs");
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{error}");
    assert!(
        error.contains("does not exist or is no directory"),
        "{error}"
    );
}
