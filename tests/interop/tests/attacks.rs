//! The attacks find what a server that is not hardened gets wrong, and let pass what it gets right.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use support::{Folder, Serving, event, run, words};

fn attack(folder: &Folder, server: &Serving, more: &str) -> (bool, Value) {
    let base = words(&format!(
        "attack --kind hbone --to {} --authority 10.0.0.1:80 --pid {} --limit 3 --connections 5 --frames 4000 {more}",
        server.at[0],
        server.pid()
    ));
    let (ok, lines) = run(&[&base, &folder.creds("client")]);
    (ok, event(&lines, "attack").clone())
}

#[test]
fn what_is_right_passes_and_what_is_wrong_does_not() {
    let folder = Folder::new();
    let base = words("serve --listen 127.0.0.1:0 --lax");
    let server = Serving::start(&[&base, &folder.creds("server")]);
    for name in ["random-bytes", "plain-http", "plain-h2"] {
        let (ok, line) = attack(&folder, &server, name);
        assert!(ok, "{line:#}");
        assert!(line["good_requests"].as_u64().unwrap() > 0, "{line:#}");
        assert!(line["rss_before"].as_u64().unwrap() > 0, "{line:#}");
    }
    // This server waits for a preface without a limit, and takes any authority.
    for name in ["tls-silence", "wild-authorities"] {
        let (ok, line) = attack(&folder, &server, name);
        assert!(
            !ok && !line["faults"].as_array().unwrap().is_empty(),
            "{line:#}"
        );
    }
}

#[test]
fn growth_of_the_victim_is_a_fault() {
    let folder = Folder::new();
    let base = words("serve --listen 127.0.0.1:0 --lax");
    let server = Serving::start(&[&base, &folder.creds("server")]);
    let (ok, line) = attack(&folder, &server, "--growth 0 big-header");
    assert!(!ok, "{line:#}");
    assert!(line["faults"].to_string().contains("grew by"), "{line:#}");
}

#[test]
fn every_attack_has_a_name() {
    for kind in ["hbone", "controller", "admin", "cni", "node"] {
        let (ok, lines) = run(&[&words(&format!("attack --kind {kind} --list"))]);
        assert!(ok && event(&lines, "attacks")["names"].as_array().unwrap().len() > 1);
    }
}
