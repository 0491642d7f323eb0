//! `warren-peer` against itself over loopback.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde::de::DeserializeOwned;
use warren_scenarios::peer::{
    IdleReport, LeaveReport, LoadReport, Outcome, Ready, SpreadReport, StreamReport,
};

const PEER: &str = env!("CARGO_BIN_EXE_warren-peer");

struct Server {
    child: Child,
    ports: Vec<u16>,
}

impl Server {
    fn start(modes: &[&str], options: &[&str]) -> Self {
        let listen = modes.iter().map(|m| format!("{m}=0"));
        let mut command = Command::new(PEER);
        command
            .arg("serve")
            .args(listen)
            .args(options)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Ready = serde_json::from_str(&line).unwrap();
        Self {
            child,
            ports: ready.ports,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn peer<T: DeserializeOwned>(arguments: &str) -> (T, bool) {
    let output = Command::new(PEER)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("{arguments}: nothing printed"));
    (serde_json::from_str(last).unwrap(), output.status.success())
}

fn held(arguments: &str) -> Outcome {
    let (outcome, success): (Outcome, bool) = peer(arguments);
    assert!(outcome.ok && success, "{arguments}: {outcome:?}");
    outcome
}

#[test]
fn every_mode_in_both_families() {
    let server = Server::start(
        &["echo", "greet", "sink", "source", "half-close", "report"],
        &[],
    );
    let [echo, greet, sink, source, half, report] = server.ports[..] else {
        panic!("ports")
    };
    for host in ["127.0.0.1", "[::1]"] {
        held(&format!("connect {host}:{echo} --bytes 1"));
        held(&format!("connect {host}:{echo} --bytes 3000001"));
        held(&format!(
            "connect {host}:{sink} --mode sink --bytes 1000003"
        ));
        held(&format!(
            "connect {host}:{source} --mode source --bytes 1000003"
        ));
        held(&format!(
            "connect {host}:{half} --mode half-close --bytes 5000 --report-port {report}"
        ));
        let seen = held(&format!("connect {host}:{greet} --mode greet"));
        let greeting = seen.greeting.unwrap();
        assert_eq!(greeting.accept, greeting.peer);
        assert_eq!(greeting.peer.port(), seen.local.unwrap().port());
        assert_eq!(seen.asked, seen.peer);
    }
}

#[test]
fn socket_options() {
    let server = Server::start(&["echo"], &["--mptcp", "--tfo"]);
    let port = server.ports[0];
    held(&format!("connect 127.0.0.1:{port} --family mapped"));
    held(&format!("connect 127.0.0.1:{port} --device lo"));
    held(&format!("connect 127.0.0.1:{port} --mptcp"));
    held(&format!("connect 127.0.0.1:{port} --tfo"));
    held(&format!("connect 127.0.0.1:{port} --bind 127.0.0.2:0"));
    held(&format!(
        "connect 127.0.0.1:{port} --unspec-after 127.0.0.3:{port}"
    ));
    assert!(held(&format!("connect 127.0.0.1:{port} --nonblocking")).ok);
}

#[test]
fn refused_is_told_at_connect() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (outcome, success): (Outcome, bool) = peer(&format!("connect {free}"));
    assert!(!success && !outcome.ok);
    assert_eq!(outcome.stage.as_deref(), Some("connect"));
    assert_eq!(outcome.errno.as_deref(), Some("ECONNREFUSED"));
}

#[test]
fn a_server_that_closes_early_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream)
        }
    });
    let (outcome, success): (Outcome, bool) =
        peer(&format!("connect 127.0.0.1:{port} --bytes 100000"));
    assert!(!success && !outcome.ok, "{outcome:?}");
    let (stream, success): (StreamReport, bool) =
        peer(&format!("stream 127.0.0.1:{port} --seconds 1"));
    assert!(!success && stream.failures.len() == 1, "{stream:?}");
}

#[test]
fn many_connections() {
    let server = Server::start(&["echo"], &[]);
    let port = server.ports[0];
    let (idle, ok): (IdleReport, bool) =
        peer(&format!("idle 127.0.0.1:{port} --count 50 --seconds 0.1"));
    assert!(ok && idle.alive == 50, "{idle:?}");
    for how in ["", "--reset"] {
        let (left, ok): (LeaveReport, bool) =
            peer(&format!("leave 127.0.0.1:{port} --count 50 {how}"));
        assert!(ok && left.connected == 50, "{left:?}");
    }
    let (load, ok): (LoadReport, bool) =
        peer(&format!("load 127.0.0.1:{port} --seconds 0.3 --fresh"));
    assert!(
        ok && load.done > 10 && load.p50_us <= load.p99_us,
        "{load:?}"
    );
    let (stream, ok): (StreamReport, bool) =
        peer(&format!("stream 127.0.0.1:{port} --seconds 0.3"));
    assert!(
        ok && stream.messages > 5 && stream.connections == 1,
        "{stream:?}"
    );
}

#[test]
fn servers_behind_an_address_are_counted() {
    let server = Server::start(&["greet"], &[]);
    let at = format!("127.0.0.1:{}", server.ports[0]);
    let (spread, ok): (SpreadReport, bool) = peer(&format!("spread {at} --count 20"));
    assert!(
        ok && spread.servers.values().sum::<u64>() == 20 && spread.servers.len() == 1,
        "{spread:?}"
    );
}

#[test]
fn datagrams() {
    let server = Server::start(&["udp"], &[]);
    held(&format!("udp 127.0.0.1:{}", server.ports[0]));
    held(&format!("udp [::1]:{}", server.ports[0]));
}

#[test]
fn bad_arguments_exit_with_2() {
    for arguments in [
        &["serve"][..],
        &["serve", "echo"],
        &["connect"],
        &["nothing"],
    ] {
        let output = Command::new(PEER).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
