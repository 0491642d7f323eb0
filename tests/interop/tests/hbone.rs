//! `connect` against `serve`, over loopback.
#![allow(missing_docs)]

mod support;

use serde_json::json;
use support::{Folder, SERVER, Serving, event, run, words};

fn serve(folder: &Folder, more: &str) -> Serving {
    let base = words("serve --listen 127.0.0.1:0 --for 60");
    Serving::start(&[&base, &folder.creds("server"), &words(more)])
}

fn connect(to: &str, creds: &[String], more: &str) -> (bool, Vec<serde_json::Value>) {
    let base = words(&format!("connect --to {to} --authority 10.0.0.1:8080"));
    run(&[&base, creds, &words(more)])
}

#[test]
fn streams_echo_and_close_by_halves() {
    let folder = Folder::new();
    let server = serve(&folder, "--connections 1 --ping 0.2");
    let more = format!("--streams 5 --bytes 9000000 --ping --hold 0.5 --expect-peer {SERVER}");
    let (ok, lines) = connect(&server.at[0], &folder.creds("client"), &more);
    assert!(ok, "{lines:#?}");
    let tls = event(&lines, "tls");
    assert_eq!(
        (&tls["group"], &tls["alpn"]),
        (&json!("X25519MLKEM768"), &json!("h2"))
    );
    let streams: Vec<_> = lines.iter().filter(|l| l["event"] == "stream").collect();
    assert_eq!(streams.len(), 5);
    assert!(
        streams
            .iter()
            .all(|s| s["received"] == 9_000_000 && s["end"] == "end_stream")
    );
    assert!(event(&lines, "pings")["answered"].as_u64().unwrap() >= 2);
    let (ok, lines) = server.rest();
    assert!(ok, "{lines:#?}");
    assert_eq!(event(&lines, "end")["why"], "closed");
    assert_eq!(event(&lines, "tls")["sni"], json!(null));
}

#[test]
fn groups_meet_or_fail() {
    let folder = Folder::new();
    let server = serve(&folder, "--groups classic");
    let (ok, lines) = connect(&server.at[0], &folder.creds("client"), "--groups any");
    assert!(
        ok && event(&lines, "tls")["group"] == "X25519",
        "{lines:#?}"
    );
    let (ok, _) = connect(
        &server.at[0],
        &folder.creds("client"),
        "--groups pq --expect alert:HandshakeFailure",
    );
    assert!(ok);
}

#[test]
fn wrong_certificates_are_refused_and_named() {
    let folder = Folder::new();
    let server = serve(&folder, "");
    for (fault, alert) in [
        ("expired", "CertificateExpired"),
        ("self-signed", "UnknownCA"),
        ("not-yet-valid", "CertificateExpired"),
    ] {
        let more = format!("--expect alert:{alert}");
        let (ok, lines) = connect(&server.at[0], &folder.forged(fault), &more);
        assert!(ok, "{fault}: {lines:#?}");
    }
    let (ok, lines) = connect(
        &server.at[0],
        &folder.root(),
        "--expect alert:CertificateRequired",
    );
    assert!(ok, "{lines:#?}");
    let (ok, _) = connect(&server.at[0], &folder.forged("good"), "");
    assert!(ok);
    let (ok, _) = connect(
        &server.at[0],
        &folder.forged("other-trust-domain"),
        "--expect closed --expect reset",
    );
    assert!(ok);
}

#[test]
fn another_server_is_not_taken() {
    let folder = Folder::new();
    let server = serve(&folder, "");
    let more = "--expect-peer spiffe://cluster.local/ns/shop/sa/other --expect tls";
    let (ok, lines) = connect(&server.at[0], &folder.creds("client"), more);
    assert!(ok, "{lines:#?}");
    let strange = Folder::new();
    let (ok, lines) = connect(&server.at[0], &strange.creds("client"), "--expect tls");
    assert!(ok, "{lines:#?}");
}

#[test]
fn refusals_and_goaway_are_told() {
    let folder = Folder::new();
    let server = serve(&folder, "--status 503");
    assert!(
        connect(
            &server.at[0],
            &folder.creds("client"),
            "--expect status:503"
        )
        .0
    );
    assert!(!connect(&server.at[0], &folder.creds("client"), "").0);
    let server = serve(&folder, "--goaway-after 2");
    let (ok, lines) = connect(&server.at[0], &folder.creds("client"), "--streams 2");
    assert!(ok && goaways(&lines) == [i32::MAX as u64, 3], "{lines:#?}");
}

#[test]
fn faulty_headers_are_noticed() {
    let folder = Folder::new();
    let server = serve(&folder, "--connections 1");
    let more = "--header baggage= --header forwarded=for=web --expect status:400";
    assert!(connect(&server.at[0], &folder.creds("client"), more).0);
    let (ok, lines) = server.rest();
    assert!(!ok);
    assert_eq!(
        event(&lines, "request")["faults"].as_array().unwrap().len(),
        2
    );
}

fn goaways(lines: &[serde_json::Value]) -> Vec<u64> {
    let told = lines.iter().filter(|l| l["event"] == "goaway");
    told.filter_map(|l| l["last_stream"].as_u64()).collect()
}

#[test]
fn an_abrupt_goaway_leaves_later_streams() {
    let folder = Folder::new();
    let server = serve(&folder, "--goaway-after 1 --goaway-abrupt");
    let more = "--streams 3 --expect goaway";
    let (ok, lines) = connect(&server.at[0], &folder.creds("client"), more);
    assert!(ok && goaways(&lines) == [1], "{lines:#?}");
    assert!(connect(&server.at[0], &folder.creds("client"), "--streams 3").0);
}
