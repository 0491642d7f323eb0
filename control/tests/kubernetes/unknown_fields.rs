//! Fields that do not exist, from clients that ask for no validation, as Helm and `kubectl --validate=false` do. An API server that dropped
//! them would make an ALLOW of everything of `rules: [{form: [...]}]`.

use kube::Client;
use serde_json::Value;
use warren_apiserver::free_port;
use warren_control::source::dir::document;

use crate::status::accepted;
use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::{apply, get, namespace, node, pod};
use crate::webhook::{bundle, configure};

const SELECTOR: &str = "selector: {matchLabels: {app: web}}";
const FORM: &str = "rules: [{form: [{source: {namespaces: [shop]}}]}]";

fn object(kind: &str, name: &str, fields: &str) -> String {
    format!(
        "{{apiVersion: warren.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}, namespace: shop}}, {fields}}}"
    )
}

/// Of an AuthorizationPolicy for the pod `web-1`.
fn policy(name: &str, spec: &str) -> String {
    object(
        "AuthorizationPolicy",
        name,
        &format!("spec: {{{SELECTOR}, {spec}}}"),
    )
}

/// Creates an object; what the API server says where it refuses.
async fn create(client: &Client, yaml: &str, validation: &str) -> Result<Value, String> {
    let value = document::parse(yaml, false).0.remove(0).value;
    let plural = match value["kind"].as_str() {
        Some("AuthorizationPolicy") => "authorizationpolicies",
        _ => "peerauthentications",
    };
    let path =
        format!("/apis/warren.dev/v1alpha1/namespaces/shop/{plural}?fieldValidation={validation}");
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(value.to_string().into_bytes())
        .expect("request");
    match client.request(request).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(e) => panic!("{e}"),
    }
}

async fn with_a_pod() -> (ApiServer, Client) {
    let (api, client) = ApiServer::installed(&[]).await;
    let web = pod("shop", "web-1", "web", "a", "10.0.0.1");
    apply(&client, &[namespace("shop"), node("a"), web].concat()).await;
    (api, client)
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn the_webhook_refuses_them() {
    let (api, client) = with_a_pod().await;
    let port = free_port();
    configure(&client, port).await;
    let address = format!("127.0.0.1:{port}");
    let _c = Controller::start(&api, api.port, &["--webhook-addr", &address]).await;
    eventually("the API server's trust", async || bundle(&client).await).await;
    let refusal = async |yaml: &str, validation: &str| {
        eventually("a refusal by us", async || {
            let said = create(&client, yaml, validation).await.expect_err("bad");
            said.contains("denied the request").then_some(said)
        })
        .await
    };
    let start = "admission webhook \"objects.warren.dev\" denied the request: ";
    let end = "; correct its name or its indentation";
    for validation in ["Ignore", "Strict"] {
        assert_eq!(
            refusal(&policy("p", FORM), validation).await,
            format!("{start}AuthorizationPolicy shop/p: unknown field spec.rules[0].form{end}")
        );
    }
    let deep = "rules: [{from: [{source: {nameSpaces: [shop]}}], to: [{operation: {port: [80]}}]}]";
    let said = refusal(&policy("p", deep), "Ignore").await;
    for path in [
        "spec.rules[0].from[0].source.nameSpaces",
        "spec.rules[0].to[0].operation.port",
    ] {
        assert!(said.contains(path), "{said}");
    }
    let beside = object("AuthorizationPolicy", "p", "spec: {}, action: DENY");
    let said = refusal(&beside, "Ignore").await;
    assert!(said.contains("shop/p: unknown field action;"), "{said}");
    let spec = format!("spec: {{{SELECTOR}, portLevelMtls: {{\"80\": {{mod: STRICT}}}}}}");
    let said = refusal(&object("PeerAuthentication", "p", &spec), "Ignore").await;
    assert!(
        said.contains("PeerAuthentication shop/p: unknown field spec.portLevelMtls.80.mod;"),
        "{said}"
    );
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn without_the_webhook_they_are_stored_and_close() {
    let (api, client) = with_a_pod().await;
    let form = policy("form", FORM);
    create(&client, &form, "Ignore").await.expect("nobody asks");
    // The API server itself has no complaint even where the client wants one.
    let strict = policy("strict", FORM);
    create(&client, &strict, "Strict")
        .await
        .expect("nobody asks");
    let stored = get(&client, &form).await;
    assert!(
        stored.pointer("/spec/rules/0/form").is_some(),
        "it was dropped: {stored}"
    );
    let spec = format!("spec: {{{SELECTOR}, mtls: {{mod: STRICT}}}}");
    let peer = object("PeerAuthentication", "peer", &spec);
    create(&client, &peer, "Ignore").await.expect("nobody asks");

    let c = Controller::start(&api, api.port, &[]).await;
    for policy in [&form, &strict] {
        let said = accepted(&client, policy, 1, ("False", "Invalid")).await;
        for part in [
            "unknown field spec.rules[0].form",
            "correct its name or its indentation",
            "an ALLOW that matches nothing, for pods labelled app=web",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
    let said = accepted(&client, &peer, 1, ("False", "Invalid")).await;
    assert!(
        said.contains("unknown field spec.mtls.mod")
            && said.contains("plaintext to pods labelled app=web is refused"),
        "{said}"
    );
    let views = c.policy_views().await;
    let form = views
        .iter()
        .find(|p| p.name == "form")
        .expect("it is there");
    assert_eq!(
        (&*form.action, &*form.scope, form.rules.len()),
        ("ALLOW", "selector", 0),
        "{form:?}"
    );
    assert!(views.iter().any(|p| p.name == "peerauthentication/peer"));
}
