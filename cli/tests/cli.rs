//! The `warren` binary against admin servers in this process.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;
use warren_admin::types::*;
use warren_admin::{Admin, RouteError};

async fn warren(run_dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warren"))
        .env_remove("WARREN_LAB")
        .env("WARREN_RUN_DIR", run_dir)
        .args(arguments)
        .output()
        .await
        .expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn policy(name: &str) -> PolicyView {
    PolicyView {
        namespace: "shop".into(),
        name: name.into(),
        scope: "namespace".into(),
        action: "DENY".into(),
        dry_run: false,
        rules: vec![vec![vec![
            [("principals".to_owned(), vec!["*/sa/web".to_owned()])].into(),
        ]]],
    }
}

fn control() -> Admin {
    let warning = Warning {
        kind: "HTTPRoute".into(),
        namespace: "shop".into(),
        name: "cart".into(),
        file: Some("shop.yaml".into()),
        line: Some(12),
        reason: "backend `carts` does not exist; create the Service or correct backendRefs".into(),
    };
    Admin::new("control")
        .route("/status", || async {
            ComponentStatus {
                warnings: Some(1),
                ..ComponentStatus::new("control")
            }
        })
        .route("/policies", || async {
            vec![policy("z-last"), policy("a-first")]
        })
        .route("/warnings", move || {
            let warning = warning.clone();
            async move { vec![warning] }
        })
}

fn agent() -> Admin {
    let map = |name: &str, entries| MapView {
        name: name.into(),
        kind: "hash".into(),
        entries: Some(entries),
        max_entries: 100,
        key_size: 8,
        value_size: 16,
        pin: format!("/sys/fs/bpf/warren/a/maps/{name}"),
    };
    let maps = vec![map("pods", 2), map("flows", 95)];
    Admin::new("agent")
        .route("/status", || async {
            let pods = PodCounts {
                enrolled: 2,
                pending: 1,
                failed: 0,
            };
            ComponentStatus {
                pods: Some(pods),
                ..ComponentStatus::new("agent")
            }
        })
        .route("/maps", move || {
            let maps = maps.clone();
            async move { maps }
        })
        .put("/kernel-log", |body: Value| async move {
            Ok::<_, RouteError>(body)
        })
        .route("/log-level", || async {
            LogLevel {
                filter: "info".into(),
            }
        })
        .put("/log-level", |level: LogLevel| async move {
            if level.filter == "error" {
                Err(RouteError::bad_request("`error` is no log filter"))
            } else {
                Ok(level)
            }
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn status_names_what_is_missing_and_what_was_skipped() {
    let dir = tempfile::tempdir().expect("dir");
    control()
        .serve_unix(&dir.path().join("control-admin.sock"))
        .expect("serve");
    agent()
        .serve_unix(&dir.path().join("agent-admin.sock"))
        .expect("serve");
    let output = warren(dir.path(), &["status"]).await;
    let text = out(&output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "the tunnel is missing\n{text}{}",
        err(&output)
    );
    for part in [
        "2 (+1 pending)",
        "! ztunnel is not running",
        "kubectl",
        "HTTPRoute shop/cart",
        "shop.yaml:12",
        "carts",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }

    Admin::new("ztunnel")
        .route("/status", || async { ComponentStatus::new("ztunnel") })
        .serve_unix(&dir.path().join("ztunnel-admin.sock"))
        .expect("serve");
    let output = warren(dir.path(), &["status", "-o", "json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["processes"].as_array().expect("a list").len(), 3);
    assert_eq!(report["processes"][0]["from"], "agent");
    assert_eq!(report["warnings"][0]["line"], 12);
    assert!(report.get("unreachable").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_sorted_and_filtered() {
    let dir = tempfile::tempdir().expect("dir");
    control()
        .serve_unix(&dir.path().join("control-admin.sock"))
        .expect("serve");
    agent()
        .serve_unix(&dir.path().join("agent-admin.sock"))
        .expect("serve");
    let text = out(&warren(dir.path(), &["policies"]).await);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NAMESPACE  NAME     SCOPE"), "{text}");
    assert!(
        lines[1].contains("a-first") && lines[2].contains("principals=*/sa/web"),
        "{text}"
    );
    let text = out(&warren(dir.path(), &["policies", "-o", "yaml", "last"]).await);
    assert!(
        text.contains("name: z-last") && !text.contains("a-first"),
        "{text}"
    );
    let text = out(&warren(dir.path(), &["policies", "-n", "other"]).await);
    assert!(text.contains("no policies"), "{text}");

    let text = out(&warren(dir.path(), &["maps"]).await);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[1].contains("flows") && lines[1].contains("95% !"),
        "{text}"
    );
    assert!(
        lines[2].contains("pods") && lines[2].contains("2%"),
        "{text}"
    );

    let output = warren(dir.path(), &["connections", "--from", "control"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("no process here answers this"),
        "{}",
        err(&output)
    );
    let output = warren(dir.path(), &["connections", "--from", "waypoint"]).await;
    assert!(
        err(&output).contains("no `waypoint` here; there are agent, control, ztunnel"),
        "{}",
        err(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn log_level() {
    let dir = tempfile::tempdir().expect("dir");
    agent()
        .serve_unix(&dir.path().join("agent-admin.sock"))
        .expect("serve");
    let output = warren(dir.path(), &["log-level", "--from", "agent"]).await;
    assert!(
        output.status.success() && out(&output).contains("agent  info"),
        "{}",
        out(&output)
    );
    // The filter is one for this program; the process knows better.
    agent()
        .serve_unix(&dir.path().join("ztunnel-admin.sock"))
        .expect("serve");
    let output = warren(dir.path(), &["log-level", "error"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(out(&output).is_empty(), "{}", out(&output));
    assert!(
        err(&output).contains("ztunnel: `error` is no log filter\n"),
        "{}",
        err(&output)
    );
    let output = warren(dir.path(), &["log-level", "garbage"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
    assert!(
        err(&output).contains("`garbage` is no level"),
        "{}",
        err(&output)
    );
    let output = warren(dir.path(), &["log-level", "--kernel", "on"]).await;
    assert!(
        output.status.success() && out(&output).contains("agent: kernel log on"),
        "{}",
        err(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_process_is_told_from_one_that_never_ran() {
    let dir = tempfile::tempdir().expect("dir");
    drop(
        std::os::unix::net::UnixListener::bind(dir.path().join("agent-admin.sock")).expect("bind"),
    );
    let output = warren(dir.path(), &["maps"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("agent has ended"), "{}", err(&output));
    let output = warren(&dir.path().join("elsewhere"), &["status"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("--run-dir"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_gives_a_verdict() {
    let dir = tempfile::tempdir().expect("dir");
    let output = warren(dir.path(), &["check", "--cgroup", "/proc", "-o", "json"]).await;
    assert_eq!(output.status.code(), Some(1), "/proc is no cgroup");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let cgroup = findings
        .iter()
        .find(|f| f["check"] == "cgroup v2")
        .expect("the finding");
    assert_eq!(
        (&cgroup["result"], cgroup["remedy"].is_string()),
        (&Value::from("fail"), true)
    );
    assert!(findings.len() >= 12);
    // No controller is in that folder.
    let objects = findings
        .iter()
        .find(|f| f["check"] == "objects of the mesh");
    let objects = objects.expect("what was not looked at");
    assert_eq!(objects["result"], "warn");
    let remedy = objects["remedy"].as_str().expect("where to look");
    assert!(remedy.contains("kubectl get "), "{remedy}");
    assert_eq!(
        warren(dir.path(), &["frobnicate"]).await.status.code(),
        Some(2)
    );
}
