//! What the API server holds, in the model.

use std::time::Duration;

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::{apply, delete, get, install, install_crds, namespace, node, pod};

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn objects_come_change_and_go() {
    let (api, client) = ApiServer::installed(&[]).await;
    let web = pod("shop", "web-1", "web", "a", "10.0.0.1");
    apply(
        &client,
        &[namespace("shop"), node("a"), web.clone()].concat(),
    )
    .await;
    let c = Controller::start(&api, api.port, &[]).await;
    c.has(&["shop/web-1"]).await;

    let db = pod("shop", "db-1", "db", "a", "10.0.0.2");
    apply(&client, &db).await;
    c.has(&["shop/db-1", "shop/web-1"]).await;
    delete(&client, &db).await;
    c.has(&["shop/web-1"]).await;

    // Both families, and a Service with its own slices.
    let dual = pod("shop", "dual", "dual", "a", "10.0.0.3").replace(
        "podIPs: [{ip: \"10.0.0.3\"}]",
        "podIPs: [{ip: \"10.0.0.3\"}, {ip: \"fd00::3\"}]",
    );
    let slices = "
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outside-1, namespace: shop, labels: {kubernetes.io/service-name: outside}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2], conditions: {ready: false, serving: true, terminating: true}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: made-by-kubernetes, namespace: shop, labels: {kubernetes.io/service-name: outside, endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [192.0.2.9]}]
";
    apply(&client, &(dual + slices)).await;
    c.has(&[
        "shop/192.0.2.1",
        "shop/192.0.2.2",
        "shop/dual",
        "shop/web-1",
    ])
    .await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn definitions_may_come_later() {
    let api = ApiServer::start(&[]).await;
    let client = api.client();
    install(&client).await;
    let web = pod("shop", "web-1", "web", "a", "10.0.0.1");
    apply(&client, &[namespace("shop"), node("a"), web].concat()).await;
    let c = Controller::start(&api, api.port, &[]).await;
    c.has(&["shop/web-1"]).await;
    assert!(
        c.log().contains("not installed in this cluster"),
        "{}",
        c.log()
    );
    install_crds(&client).await;
    let policy = "{apiVersion: warren.dev/v1alpha1, kind: PeerAuthentication, metadata: {name: all, namespace: shop}, spec: {mtls: {mode: STRICT}}}";
    apply(&client, policy).await;
    eventually("the policy", async || {
        (c.policies().await == ["shop/peerauthentication/all"]).then_some(())
    })
    .await;
    delete(&client, policy).await;
    eventually("no policy", async || {
        c.policies().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn what_cannot_be_honoured_disturbs_nothing_else() {
    let (api, client) = ApiServer::installed(&[]).await;
    let web = pod("shop", "web-1", "web", "a", "10.0.0.1");
    let crashed = pod("shop", "web-0", "web", "b", "10.0.0.1").replace("\"True\"", "\"False\"");
    let host = pod("shop", "host", "host", "a", "10.1.0.1")
        .replace("labels: {", "labels: {warren.dev/mesh: enabled, ")
        .replace("spec:\n", "spec:\n  hostNetwork: true\n");
    let no_ip = pod("shop", "starting", "web", "a", "");
    let no_ip = no_ip
        .split("status:")
        .next()
        .expect("a specification")
        .to_owned()
        + "---\n";
    let ports = "{apiVersion: v1, kind: Service, metadata: {name: none, namespace: shop}, spec: {clusterIP: None, selector: {app: web}}}\n---\n";
    apply(
        &client,
        &[
            namespace("shop"),
            node("a"),
            node("b"),
            web,
            crashed,
            host,
            no_ip,
            ports.into(),
        ]
        .concat(),
    )
    .await;
    let c = Controller::start(&api, api.port, &[]).await;
    // One without an address is known to its node, which has to let it in before it gets one.
    let known = ["shop/host", "shop/starting", "shop/web-0", "shop/web-1"];
    c.has(&known).await;
    let twice = c.warns("address 10.0.0.1 is also that of pod").await;
    assert_eq!((&*twice.kind, &*twice.namespace), ("Pod", "shop"));
    assert_eq!(c.warns("uses the host network").await.name, "host");
    assert_eq!(c.warns("it has no ports").await.name, "none");

    // A namespace that is being deleted keeps its pods until they are gone. Nothing deletes them here.
    delete(&client, &namespace("shop")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    c.has(&known).await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_policy_that_never_could_be_read_closes_what_it_covers() {
    let (api, client) = ApiServer::installed(&[]).await;
    let policy = |action: &str, block: &str| {
        format!(
            "{{apiVersion: warren.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: p, namespace: shop}}, spec: {{selector: {{matchLabels: {{app: web}}}}, action: {action}, rules: [{{from: [{{source: {{ipBlocks: [{block}]}}}}]}}]}}}}"
        )
    };
    let web = pod("shop", "web-1", "web", "a", "10.0.0.1");
    let bad = policy("ALLOW", "nonsense");
    // One that names nobody would close a whole namespace: it closes nothing, and says so.
    let wide = "\n---\n{apiVersion: warren.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {name: wide, namespace: shop}, spec: {rules: [{from: [{source: {ipBlocks: [nonsense]}}]}]}}";
    apply(
        &client,
        &[namespace("shop"), node("a"), web, bad.clone(), wide.into()].concat(),
    )
    .await;
    let c = Controller::start(&api, api.port, &[]).await;
    assert_eq!(c.policies().await, ["shop/p"]);
    assert_eq!(c.warns("until then it has no effect").await.name, "wide");
    delete(&client, wide).await;
    let warning = c.warns("counts as an ALLOW that matches nothing").await;
    assert_eq!(
        (&*warning.kind, &*warning.name),
        ("AuthorizationPolicy", "p")
    );
    let said = "until then it counts as an ALLOW that matches nothing, for pods labelled app=web";
    eventually("its condition", async || {
        let object = get(&client, &bad).await;
        let message = object.pointer("/status/conditions/0/message")?.as_str()?;
        message.contains(said).then_some(())
    })
    .await;

    // What only reports closes nothing, so what stood in for it goes.
    apply(&client, &policy("AUDIT", "nonsense")).await;
    c.warns("it has no effect").await;
    eventually("no policy", async || {
        c.policies().await.is_empty().then_some(())
    })
    .await;
    // Corrected, and bad once more: the good version stays, until the controller ends.
    apply(&client, &policy("ALLOW", "10.0.0.0/8")).await;
    eventually("the policy", async || {
        (c.policies().await == ["shop/p"] && c.warnings().await.is_empty()).then_some(())
    })
    .await;
    apply(&client, &policy("AUDIT", "nonsense")).await;
    c.warns("the version before stays in force").await;
    assert_eq!(c.policies().await, ["shop/p"]);
    delete(&client, &bad).await;
    eventually("no policy", async || {
        c.policies().await.is_empty().then_some(())
    })
    .await;
}
