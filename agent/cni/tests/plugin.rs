//! The plugin against an agent that the test plays.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
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

fn timed<T>(limit: u64, work: impl FnOnce() -> T) -> T {
    let start = std::time::Instant::now();
    let value = work();
    let took = start.elapsed();
    assert!(took < std::time::Duration::from_secs(limit), "{took:?}");
    value
}

#[test]
fn an_agent_that_hangs_is_not_waited_for_beyond_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cni.sock");
    // It accepts nobody; the kernel completes connections until the queue, of one place, is full.
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&socket).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let config = config(&socket);
    let run = |command| warren_cni::run(environment(command), config.as_bytes());
    let error = timed(4, || run("ADD").unwrap_err());
    assert_eq!(error.code, Code::TryAgain);
    assert!(
        error.msg.contains("is warren-agent running"),
        "{}",
        error.msg
    );
    assert!(!error.details.is_empty());
    assert_eq!(timed(4, || run("CHECK").unwrap_err()).code, Code::TryAgain);
    assert_eq!(timed(8, || run("DEL").unwrap()), "");
    // The queue full: connect(2) itself hangs.
    let waiting: Vec<_> = (0..20).map_while(|_| connect_or_full(&socket)).collect();
    assert_eq!(
        timed(4, || run("STATUS").unwrap_err()).code,
        Code::NotAvailable
    );
    assert_eq!(timed(4, || run("ADD").unwrap_err()).code, Code::TryAgain);
    assert_eq!(timed(8, || run("DEL").unwrap()), "");
    drop((waiting, listener));
}

/// A connection, or None where the listener's queue is full.
fn connect_or_full(socket: &Path) -> Option<std::os::unix::net::UnixStream> {
    let (tx, rx) = std::sync::mpsc::channel();
    let socket = socket.to_owned();
    std::thread::spawn(move || tx.send(std::os::unix::net::UnixStream::connect(socket)));
    let limit = std::time::Duration::from_millis(300);
    rx.recv_timeout(limit).ok()?.ok()
}

#[test]
fn an_agent_that_answers_garbage_or_goes_away_is_told_in_time() {
    for answer in ["not json\n", "{}\n", "\n", "{\"ok\":\"yes\"}\n"] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("cni.sock");
        let played = agent(&socket, answer);
        let error = timed(4, || {
            warren_cni::run(environment("ADD"), config(&socket).as_bytes()).unwrap_err()
        });
        assert_eq!(error.code, Code::Agent, "{answer:?}: {error}");
        played.join().unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cni.sock");
    let played = agent(&socket, "");
    let error = timed(4, || {
        warren_cni::run(environment("ADD"), config(&socket).as_bytes()).unwrap_err()
    });
    assert_eq!(error.code, Code::TryAgain);
    played.join().unwrap();
}

#[test]
fn del_succeeds_whatever_it_is_given() {
    let nothing = |name: &str| (name == "CNI_COMMAND").then(|| "DEL".to_owned());
    let odd = |name: &str| match name {
        "CNI_COMMAND" => Some("DEL".to_owned()),
        "CNI_ARGS" => Some(";;=;K8S_POD_NAME;K8S_POD_NAMESPACE==".to_owned()),
        _ => None,
    };
    for text in [
        &b""[..],
        b"{}",
        b"[1]",
        b"{\"cniVersion\":\"9\"}",
        b"{\"socket\":\"/no/such\",\"timeoutSeconds\":1}",
    ] {
        assert_eq!(timed(4, || warren_cni::run(nothing, text).unwrap()), "");
        assert_eq!(timed(4, || warren_cni::run(odd, text).unwrap()), "");
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cni.sock");
    for answer in ["{\"ok\":false,\"error\":\"no such pod\"}\n", "garbage\n"] {
        let played = agent(&socket, answer);
        assert_eq!(
            warren_cni::run(environment("DEL"), config(&socket).as_bytes()).unwrap(),
            ""
        );
        played.join().unwrap();
        std::fs::remove_file(&socket).unwrap();
    }
}

#[test]
fn add_with_garbage_says_what_is_wrong() {
    let run =
        |var: &dyn Fn(&str) -> Option<String>, text: &[u8]| warren_cni::run(var, text).unwrap_err();
    let add = environment("ADD");
    assert_eq!(run(&add, b"not json").code, Code::Decode);
    assert_eq!(run(&add, b"\xff").code, Code::Decode);
    assert_eq!(run(&add, b"").code, Code::Decode);
    let no_args = |name: &str| {
        if name == "CNI_ARGS" {
            None
        } else {
            environment("ADD")(name)
        }
    };
    let error = run(&no_args, b"{\"cniVersion\":\"0.4.0\"}");
    assert_eq!(
        (error.code, error.version.as_str()),
        (Code::Environment, "0.4.0")
    );
    assert!(error.msg.contains("CNI_ARGS"), "{}", error.msg);
    let no_netns = |name: &str| {
        if name == "CNI_NETNS" {
            None
        } else {
            environment("ADD")(name)
        }
    };
    assert!(run(&no_netns, b"{}").msg.contains("CNI_NETNS"));
    assert!(run(&|_: &str| None, b"{}").msg.contains("CNI_COMMAND"));
}
