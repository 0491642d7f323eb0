//! Two replicas: both serve, one writes.

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::{apply, get, namespace, node, pod};

const POLICY: &str = "{apiVersion: warren.dev/v1alpha1, kind: PeerAuthentication, metadata: {name: NAME, namespace: shop}, spec: {mtls: {mode: STRICT}}}";

async fn written(client: &kube::Client, name: &str) {
    let policy = POLICY.replace("NAME", name);
    apply(client, &policy).await;
    eventually("a condition", async || {
        let object = get(client, &policy).await;
        object
            .pointer("/status/conditions/0")
            .is_some()
            .then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn another_replica_takes_over() {
    let (api, client) = ApiServer::installed(&[]).await;
    apply(
        &client,
        &[
            namespace("shop"),
            node("a"),
            pod("shop", "web-1", "web", "a", "10.0.0.1"),
        ]
        .concat(),
    )
    .await;
    // Both at once: one makes the CA, the other takes it.
    let mut a = Controller::spawn(&api, api.port, &["--pod-name", "a"]);
    let mut b = Controller::spawn(&api, api.port, &["--pod-name", "b"]);
    a.ready().await;
    b.ready().await;
    let root =
        |c: &Controller| std::fs::read(c.dir.path().join("run/root-cert.pem")).expect("root");
    assert_eq!(root(&a), root(&b), "one root");
    assert_eq!(a.workloads().await, b.workloads().await);
    eventually("a leader", async || (a.leads() || b.leads()).then_some(())).await;
    assert!(!(a.leads() && b.leads()));
    if b.leads() {
        std::mem::swap(&mut a, &mut b);
    }
    written(&client, "first").await;
    assert_eq!(b.metric("status_writes", "PeerAuthentication").await, 0);

    // A leader that ends gives the Lease back.
    let started = std::time::Instant::now();
    a.terminate().await;
    eventually("the other", async || b.leads().then_some(())).await;
    println!("hand-over after {:?}", started.elapsed());
    written(&client, "second").await;
    assert_eq!(
        b.metric("status_writes", "PeerAuthentication").await,
        1,
        "the first stands already"
    );

    // One that is killed does not.
    let c = Controller::start(&api, api.port, &["--pod-name", "c"]).await;
    let started = std::time::Instant::now();
    b.kill();
    eventually("the third", async || c.leads().then_some(())).await;
    println!("fail-over after {:?}", started.elapsed());
    written(&client, "third").await;
}
