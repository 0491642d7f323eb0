//! Conditions and events.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use serde_json::Value;

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::{apply, delete, get, namespace, node, pod};

fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: warren.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: {name}, namespace: shop}}, spec: {{{spec}}}}}\n---\n"
    )
}

/// Waits for the condition about a generation, compares it, and returns its message.
pub async fn accepted(
    client: &kube::Client,
    object: &str,
    generation: i64,
    expected: (&str, &str),
) -> String {
    let condition = eventually("a condition", async || {
        let object = get(client, object).await;
        let mut conditions = object.pointer("/status/conditions")?.as_array()?.iter();
        let is = |c: &&Value| c["type"] == "Accepted" && c["observedGeneration"] == generation;
        conditions.find(is).cloned()
    })
    .await;
    let text = |field: &str| condition[field].as_str().expect("text").to_owned();
    assert_eq!((&*text("status"), &*text("reason")), expected);
    text("message")
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn conditions_say_what_is_in_force_and_are_written_once() {
    let (api, client) = ApiServer::installed(&[]).await;
    let good = policy("good", "rules: [{from: [{source: {namespaces: [shop]}}]}]");
    let partly = policy("partly", "rules: [{to: [{operation: {methods: [GET]}}]}]");
    let bad = policy("bad", "rules: [{from: [{source: {ipBlocks: [nonsense]}}]}]");
    apply(
        &client,
        &[
            namespace("shop"),
            node("a"),
            good.clone(),
            partly.clone(),
            bad.clone(),
        ]
        .concat(),
    )
    .await;
    let c = Controller::start(&api, api.port, &[]).await;

    accepted(&client, &good, 1, ("True", "Accepted")).await;
    let message = accepted(&client, &partly, 1, ("True", "PartlyInEffect")).await;
    assert!(message.contains("cannot be checked at L4"), "{message}");
    let message = accepted(&client, &bad, 1, ("False", "Invalid")).await;
    assert!(message.contains("nonsense"), "{message}");
    assert_eq!(c.warns("nonsense").await.name, "bad");

    // Our own writes come back as changes, and cause none.
    let version = async || get(&client, &good).await["metadata"]["resourceVersion"].clone();
    let before = version().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(version().await, before);
    assert_eq!(c.metric("status_writes", "AuthorizationPolicy").await, 3);

    apply(&client, &bad.replace("nonsense", "10.0.0.0/8")).await;
    accepted(&client, &bad, 2, ("True", "Accepted")).await;
    eventually("its count", async || {
        (c.metric("status_writes", "AuthorizationPolicy").await == 4).then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn others_objects_get_events() {
    let (api, client) = ApiServer::installed(&[]).await;
    let web = pod("shop", "web-1", "web", "a", "10.0.0.1")
        .replace("labels: {", "labels: {warren.dev/mesh: perhaps, ");
    apply(
        &client,
        &[namespace("shop"), node("a"), web.clone()].concat(),
    )
    .await;
    let c = Controller::start(&api, api.port, &[]).await;
    c.has(&["shop/web-1"]).await;
    let events: Api<Event> = Api::namespaced(client.clone(), "shop");
    let list = async || {
        events
            .list(&kube::api::ListParams::default())
            .await
            .expect("events")
            .items
    };
    let event = eventually("an event", async || list().await.pop()).await;
    let uid = get(&client, &web).await["metadata"]["uid"].clone();
    assert_eq!(event.involved_object.uid.map(Value::from), Some(uid));
    assert!(
        event
            .message
            .as_deref()
            .unwrap_or_default()
            .contains("`perhaps`"),
        "{:?}",
        event.message
    );
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    drop(c);

    // Another controller says the same, which is no news.
    let c = Controller::start(&api, api.port, &[]).await;
    eventually("leadership", async || c.leads().then_some(())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(list().await.len(), 1);
}

/// Nothing can be made in it any more: what waits there must hold up nothing else.
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_namespace_that_is_being_deleted() {
    let (api, client) = ApiServer::installed(&[]).await;
    let web = pod("going", "web-1", "web", "a", "10.0.0.1")
        .replace("labels: {", "labels: {warren.dev/mesh: perhaps, ");
    let good = policy("good", "rules: [{from: [{source: {namespaces: [shop]}}]}]");
    let all = [namespace("going"), namespace("shop"), node("a"), web].concat();
    apply(&client, &all).await;
    // Nothing takes its finalizer away here.
    delete(&client, &namespace("going")).await;
    let c = Controller::start(&api, api.port, &[]).await;
    c.has(&["going/web-1"]).await;
    let warning = c.warns("is being deleted: its pods stay in the mesh").await;
    assert_eq!((&*warning.kind, &*warning.name), ("Namespace", "going"));
    c.warns("`perhaps`").await;
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    eventually("an event about the namespace", async || {
        let all = events.list(&kube::api::ListParams::default()).await.ok()?;
        let is = |e: &Event| e.involved_object.name.as_deref() == Some("going");
        all.items.iter().any(is).then_some(())
    })
    .await;
    apply(&client, &good).await;
    accepted(&client, &good, 1, ("True", "Accepted")).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let events: Api<Event> = Api::namespaced(client.clone(), "going");
    let made = events.list(&kube::api::ListParams::default()).await;
    assert!(made.expect("events").items.is_empty(), "it cannot be made");
    assert_eq!(
        c.metric("status_write_failures", "Pod").await,
        0,
        "{}",
        c.log()
    );
}
