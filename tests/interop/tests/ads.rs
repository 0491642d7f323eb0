//! `xds` against a controller that keeps the rules, and against some that do not.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use serde_json::Value;
use support::controller::{ADDRESS, AUTHORIZATION, Asked, NAME, response, serve};
use support::{Folder, event, run, words};
use warren_interop::proto::Writer;

const UID: &str = "Kubernetes//Pod/shop/web";

fn workload(policy: &str) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(1, |w| {
        w.string(20, UID)
            .string(1, "web")
            .string(2, "shop")
            .string(7, "web")
            .string(16, policy);
    });
    out.bytes
}

fn policy() -> Vec<u8> {
    let mut out = Writer::default();
    out.string(1, "deny").string(2, "shop").varint(4, 1);
    out.bytes
}

async fn xds(folder: &Folder, port: u16, more: &str) -> (bool, Vec<Value>) {
    std::fs::write(folder.path("token"), "secret\n").unwrap();
    let mut argv = words(&format!(
        "xds --controller 127.0.0.1:{port} --server-name {NAME} --node a --limit 3"
    ));
    argv.extend(folder.root());
    argv.extend([
        "--token".into(),
        folder.path("token").to_str().unwrap().into(),
    ]);
    argv.extend(words(more));
    tokio::task::spawn_blocking(move || run(&[&argv]))
        .await
        .unwrap()
}

/// Policies first; the second connection hears only of what vanished.
fn right(asked: &Asked, connection: usize) -> Vec<Vec<u8>> {
    match (asked.nonce.as_str(), asked.url.as_str(), connection) {
        ("", AUTHORIZATION, 0) => vec![
            response(AUTHORIZATION, &[("shop/deny", "1", policy())], &[], "p"),
            response(ADDRESS, &[(UID, "1", workload("shop/deny"))], &[], "a"),
        ],
        ("", ADDRESS, 1) => vec![response(ADDRESS, &[], &["shop/gone"], "b")],
        ("", AUTHORIZATION, 1) => vec![response(AUTHORIZATION, &[], &[], "q")],
        _ => vec![],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_controller_passes() {
    let folder = Folder::new();
    let (port, log) = serve(&folder.ca, Arc::new(right)).await;
    let steps = format!(
        "start synced present:address:{UID} contains:address:{UID}=shop/deny stale:address:shop/gone \
         unversioned:address:shop/other reconnect synced removed:address:shop/gone resent:address:0 quiet:0.2"
    );
    let (ok, lines) = xds(&folder, port, &steps).await;
    assert!(ok, "{lines:#?}");
    let log = log.lock().unwrap();
    let nodes: Vec<_> = log
        .iter()
        .filter(|a| a.has_node)
        .map(|a| a.url.as_str())
        .collect();
    assert_eq!(nodes, [ADDRESS, AUTHORIZATION, ADDRESS, AUTHORIZATION]);
    assert!(log.iter().all(|a| a.subscribe.is_empty() && !a.refused));
    for nonce in ["p", "a", "b", "q"] {
        assert!(
            log.iter().any(|a| a.nonce == nonce),
            "{nonce} was not acknowledged"
        );
    }
    let again = &log.iter().filter(|a| a.has_node).nth(2).unwrap().versions;
    assert!(
        again.contains(&(UID.to_owned(), "1".to_owned())),
        "{again:?}"
    );
    assert!(
        again.contains(&("shop/other".to_owned(), String::new())),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_before_its_policy_is_a_violation() {
    let folder = Folder::new();
    let wrong = |asked: &Asked, _: usize| match asked.nonce.as_str() {
        "" => vec![
            response(ADDRESS, &[(UID, "1", workload("shop/deny"))], &[], "a"),
            response(AUTHORIZATION, &[("shop/deny", "1", policy())], &[], "p"),
        ],
        _ => vec![],
    };
    let (port, _) = serve(&folder.ca, Arc::new(wrong)).await;
    let (ok, lines) = xds(&folder, port, "start synced").await;
    assert!(!ok);
    assert!(
        event(&lines, "done")["violations"]
            .to_string()
            .contains("not sent before"),
        "{lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_without_a_first_response_is_not_in_sync() {
    let folder = Folder::new();
    let wrong = |asked: &Asked, _: usize| match (asked.nonce.as_str(), asked.url.as_str()) {
        ("", ADDRESS) => vec![response(ADDRESS, &[], &[], "a")],
        _ => vec![],
    };
    let (port, _) = serve(&folder.ca, Arc::new(wrong)).await;
    let (ok, lines) = xds(&folder, port, "start synced").await;
    assert!(
        !ok && event(&lines, "done")["outcome"] == "step:Synced",
        "{lines:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_carries_an_error() {
    let folder = Folder::new();
    let (port, log) = serve(&folder.ca, Arc::new(right)).await;
    let (ok, lines) = xds(&folder, port, "nack:authorization start synced quiet:0.3").await;
    assert!(
        !ok,
        "the address names a policy that was refused: {lines:#?}"
    );
    assert!(
        log.lock()
            .unwrap()
            .iter()
            .any(|a| a.refused && a.nonce == "p")
    );
}
