//! The plugin against an agent that the test plays.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use warren_cni::error::Code;

fn environment(command: &'static str) -> impl Fn(&str) -> Option<String> {
    move |name| match name {
        "CNI_COMMAND" => Some(command.into()),
        "CNI_ARGS" => Some("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=1-2".into()),
        "CNI_NETNS" => Some("/run/netns/web-0".into()),
        _ => None,
    }
}

fn config(socket: &Path) -> String {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "warren-cni", "socket": socket, "timeoutSeconds": 1,
        "prevResult": { "cniVersion": "0.4.0", "ips": [{ "address": "10.1.0.5/24" }], "dns": {} },
    })
    .to_string()
}

/// An agent that answers one question with `answer` and returns the question.
fn agent(socket: &Path, answer: &'static str) -> JoinHandle<Value> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (&stream).write_all(answer.as_bytes()).unwrap();
        serde_json::from_str(&line).unwrap()
    })
}

#[test]
fn add_asks_the_agent_and_passes_the_result_on() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cni.sock");
    let agent = agent(&socket, "{\"ok\":true,\"enrolled\":true}\n");
    let out = warren_cni::run(environment("ADD"), config(&socket).as_bytes()).unwrap();
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(result["cniVersion"], "1.0.0");
    assert_eq!(result["ips"][0]["address"], "10.1.0.5/24");
    let asked = agent.join().unwrap();
    assert_eq!(asked["op"], "add");
    assert_eq!(asked["name"], "web-0");
    assert_eq!(asked["addresses"], json!(["10.1.0.5"]));
}

#[test]
fn add_fails_with_the_agents_reason() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cni.sock");
    let agent = agent(&socket, "{\"ok\":false,\"error\":\"the tunnel is away\"}\n");
    let error = warren_cni::run(environment("ADD"), config(&socket).as_bytes()).unwrap_err();
    assert_eq!(error.code, Code::Agent);
    assert!(error.msg.contains("the tunnel is away"), "{}", error.msg);
    agent.join().unwrap();
}

#[test]
fn without_an_agent_add_and_status_fail_in_time_and_del_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("none.sock"));
    let start = std::time::Instant::now();
    assert_eq!(
        warren_cni::run(environment("ADD"), config.as_bytes())
            .unwrap_err()
            .code,
        Code::TryAgain
    );
    assert_eq!(
        warren_cni::run(environment("STATUS"), config.as_bytes())
            .unwrap_err()
            .code,
        Code::NotAvailable
    );
    assert_eq!(
        warren_cni::run(environment("DEL"), config.as_bytes()).unwrap(),
        ""
    );
    assert_eq!(
        warren_cni::run(environment("DEL"), &b"\xff not json"[..]).unwrap(),
        ""
    );
    assert!(start.elapsed() < std::time::Duration::from_secs(8));
}

#[test]
fn errors_are_cni_objects() {
    let error =
        warren_cni::run(environment("ADD"), &b"{\"cniVersion\":\"1.1.0\"}"[..]).unwrap_err();
    let object: Value = serde_json::from_str(&error.to_json()).unwrap();
    assert_eq!(object["cniVersion"], "1.1.0");
    assert_eq!(object["code"], 7);
    assert!(object["msg"].as_str().unwrap().contains("prevResult"));
}

#[test]
fn version_lists_what_is_spoken() {
    let out = warren_cni::run(environment("VERSION"), &b"{\"cniVersion\":\"1.1.0\"}"[..]).unwrap();
    let object: Value = serde_json::from_str(&out).unwrap();
    assert!(
        object["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("1.1.0"))
    );
}
