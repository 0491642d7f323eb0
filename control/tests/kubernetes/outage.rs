//! The API server away, slow, restarted; watches that expire.

use std::time::Duration;

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::link::Link;
use crate::support::objects::{apply, delete, namespace, node, pod};

fn web(n: u8) -> String {
    pod(
        "shop",
        &format!("web-{n}"),
        "web",
        "a",
        &format!("10.0.0.{n}"),
    )
}

const STRICT: &str = "{apiVersion: warren.dev/v1alpha1, kind: PeerAuthentication, metadata: {name: all, namespace: shop}, spec: {mtls: {mode: STRICT}}}";

async fn cluster(flags: &[&str]) -> (ApiServer, Link, Controller) {
    let (api, client) = ApiServer::installed(flags).await;
    let objects = [namespace("shop"), node("a"), web(1), web(2), STRICT.into()];
    apply(&client, &objects.join("\n")).await;
    let link = Link::to(api.port).await;
    let c = Controller::start(&api, link.port, &[]).await;
    c.has(&["shop/web-1", "shop/web-2"]).await;
    (api, link, c)
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_restarted_api_server_changes_nothing() {
    let (mut api, _link, c) = cluster(&[]).await;
    api.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    c.has(&["shop/web-1", "shop/web-2"]).await;
    assert_eq!(c.policies().await, ["shop/peerauthentication/all"]);
    api.run().await;
    let client = api.client();
    apply(&client, &web(3)).await;
    delete(&client, &web(1)).await;
    c.has(&["shop/web-2", "shop/web-3"]).await;
    assert_eq!(c.policies().await, ["shop/peerauthentication/all"]);
    eventually("what is said of it", async || {
        c.log().contains("watching again").then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn what_happened_meanwhile_is_made_up_for() {
    let (api, link, c) = cluster(&[]).await;
    let lists = c.metric("kubernetes_lists", "Pod").await;
    link.cut();
    let client = api.client();
    delete(&client, &web(1)).await;
    apply(&client, &web(3)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    c.has(&["shop/web-1", "shop/web-2"]).await;
    link.mend();
    c.has(&["shop/web-2", "shop/web-3"]).await;
    assert_eq!(c.policies().await, ["shop/peerauthentication/all"]);
    let again = c.metric("kubernetes_lists", "Pod").await;
    assert_eq!(again, lists, "the watch went on where it was");
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_slow_api_server_is_waited_for_from_the_start() {
    let (api, client) = ApiServer::installed(&[]).await;
    let objects = [namespace("shop"), node("a"), web(1), web(2), STRICT.into()];
    apply(&client, &objects.join("\n")).await;
    let link = Link::to(api.port).await;
    link.slow(Duration::from_millis(50));
    let c = Controller::start(&api, link.port, &[]).await;
    c.has(&["shop/web-1", "shop/web-2"]).await;
    assert_eq!(c.policies().await, ["shop/peerauthentication/all"]);
    delete(&client, &web(1)).await;
    c.has(&["shop/web-2"]).await;
}

/// It takes what it is sent, and says nothing.
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn while_an_api_server_hangs_nothing_is_forgotten() {
    let (api, link, c) = cluster(&[]).await;
    let lists = c.metric("kubernetes_lists", "Pod").await;
    link.slow(Duration::from_secs(600));
    let client = api.client();
    delete(&client, &web(1)).await;
    apply(&client, &web(3)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    c.has(&["shop/web-1", "shop/web-2"]).await;
    link.slow(Duration::ZERO);
    c.has(&["shop/web-2", "shop/web-3"]).await;
    assert_eq!(c.policies().await, ["shop/peerauthentication/all"]);
    let again = c.metric("kubernetes_lists", "Pod").await;
    assert_eq!(again, lists, "the watch went on where it was");
}

/// The server has forgotten what happened meanwhile: a list tells what is gone.
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn an_expired_watch_is_listed_anew() {
    let flags = ["--watch-cache=false", "--etcd-compaction-interval=1s"];
    let (api, link, c) = cluster(&flags).await;
    let lists = c.metric("kubernetes_lists", "Pod").await;
    link.cut();
    let client = api.client();
    delete(&client, &web(1)).await;
    apply(&client, &web(3)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    link.mend();
    c.has(&["shop/web-2", "shop/web-3"]).await;
    assert_eq!(c.policies().await, ["shop/peerauthentication/all"]);
    let again = c.metric("kubernetes_lists", "Pod").await;
    assert!(again > lists, "{again} lists\n{}", c.log());
}

/// Nothing is served before everything was read: half a model would end connections.
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_controller_that_starts_without_api_server_waits() {
    let (_api, link, c) = cluster(&[]).await;
    drop(c);
    link.cut();
    let mut second = Controller::spawn(&_api, link.port, &[]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!second.is_ready().await);
    link.mend();
    second.ready().await;
    assert_eq!(second.workloads().await, ["shop/web-1", "shop/web-2"]);
    assert_eq!(second.policies().await, ["shop/peerauthentication/all"]);
}
