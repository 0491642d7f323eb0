//! A real API server that asks the webhook.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use warren_control::source::dir::document;

use warren_apiserver::free_port;

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::objects::{api_of, apply, delete, namespace, node, pod};
use crate::support::{SYSTEM, eventually};

/// Of the chart's, but for the address, and strict: a call that fails shows.
pub async fn configure(client: &Client, port: u16) {
    let chart = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/charts/mesh/templates/webhook.yaml"
    );
    let chart = std::fs::read_to_string(chart).expect("webhook.yaml");
    // What stands between the templates is YAML.
    let plain: String = chart
        .lines()
        .filter(|l| !l.contains("{{") || l.contains("failurePolicy"))
        .map(|l| l.replace("{{ .Values.webhook.failurePolicy }}", "Fail") + "\n")
        .collect();
    let mut value = document::parse(&plain, false).0.remove(0).value;
    value["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("labels");
    let url = format!("https://127.0.0.1:{port}/validate");
    value["webhooks"][0]["clientConfig"] = json!({"url": url});
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let params = PatchParams::apply("helm").force();
    let patch = Patch::Apply(value);
    api.patch("warren-control", &params, &patch)
        .await
        .expect("a configuration that the API server takes");
}

pub async fn bundle(client: &Client) -> Option<String> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let found = api.get("warren-control").await.ok()?;
    let bundle = found.webhooks?.remove(0).client_config.ca_bundle?;
    String::from_utf8(bundle.0).ok()
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: warren.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {{name: {name}, namespace: shop}}, spec: {{{spec}}}}}"
    )
}

/// Creates an object as `kubectl create` would; what the API server says where it refuses.
async fn create(client: &Client, yaml: &str, dry_run: bool) -> Result<Value, String> {
    let mut value = document::parse(yaml, false).0.remove(0).value;
    let (api, name) = api_of(client, &value);
    if name == "generated" {
        value["metadata"] = json!({"generateName": "generated-", "namespace": "shop"});
    }
    let object = serde_json::from_value(value).expect("an object");
    let params = PostParams {
        dry_run,
        ..PostParams::default()
    };
    let made = api.create(&params, &object).await;
    match made {
        Ok(object) => Ok(serde_json::to_value(object).expect("JSON")),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(e) => panic!("{e}"),
    }
}

const BAD: &str = "rules: [{from: [{source: {ipBlocks: [nonsense]}}]}]";
const GOOD: &str = "rules: [{from: [{source: {namespaces: [shop]}}]}]";

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_bad_object_is_refused_and_a_weak_one_is_warned_of() {
    let (api, client) = ApiServer::installed(&[]).await;
    let web = pod("shop", "web-1", "web", "a", "10.0.0.1");
    apply(&client, &[namespace("shop"), node("a"), web].concat()).await;
    // Made before there is a webhook: what is bad already can still be labelled and deleted.
    let old = policy("old", BAD);
    create(&client, &old, false).await.expect("nobody asks yet");
    let port = free_port();
    configure(&client, port).await;
    let address = format!("127.0.0.1:{port}");
    let c = Controller::start(&api, api.port, &["--webhook-addr", &address]).await;
    eventually("the API server's trust", async || bundle(&client).await).await;

    let refused = eventually("a refusal by us", async || {
        let refused = create(&client, &policy("bad", BAD), false)
            .await
            .expect_err("bad");
        refused.contains("denied the request").then_some(refused)
    })
    .await;
    assert_eq!(
        refused,
        "admission webhook \"objects.warren.dev\" denied the request: AuthorizationPolicy shop/bad: \
         spec.rules[0].from[0].source.ipBlocks: `nonsense` is neither an IP address nor a CIDR; correct it"
    );
    create(&client, &policy("good", GOOD), false)
        .await
        .expect("good");
    create(&client, &policy("generated", GOOD), false)
        .await
        .expect("good without a name");
    let update = policy("good", BAD);
    let value = document::parse(&update, false).0.remove(0).value;
    let (policies, name) = api_of(&client, &value);
    let params = PatchParams::apply("test").force();
    let refused = policies.patch(&name, &params, &Patch::Apply(&value)).await;
    assert!(refused.is_err_and(|e| e.to_string().contains("nonsense")));

    let weak = policy("weak", "selector: {matchLabels: {app: nobody}}");
    let body = document::parse(&weak, false).0.remove(0).value.to_string();
    let path = "/apis/warren.dev/v1alpha1/namespaces/shop/authorizationpolicies";
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(kube::client::Body::from(body.into_bytes()))
        .expect("request");
    let response = client.send(request).await.expect("a response");
    assert_eq!(response.status(), 201);
    let warning = response.headers().get("warning").expect("a warning");
    let warning = warning.to_str().expect("text");
    assert!(
        warning.contains("spec.selector chooses no pod in namespace shop"),
        "{warning}"
    );

    // Its condition says the same, and the controller's own write is not asked about.
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let patch = Patch::Merge(labels);
    policies
        .patch("old", &PatchParams::default(), &patch)
        .await
        .expect("labelled");
    delete(&client, &old).await;
    let metrics = c.metric_text().await;
    assert!(
        metrics.contains("admission_reviews_total{verdict=\"refused\"} "),
        "{metrics}"
    );
    assert!(
        !metrics.contains("admission_reviews_total{verdict=\"failed\"} "),
        "{metrics}"
    );
}

/// failurePolicy is Fail here, so that one call which fails would show.
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn every_replica_is_trusted_while_the_root_changes() {
    let (api, client) = ApiServer::installed(&[]).await;
    apply(&client, &namespace("shop")).await;
    let ports = [free_port(), free_port()];
    configure(&client, ports[0]).await;
    let mut replicas = Vec::new();
    for port in ports {
        let address = format!("127.0.0.1:{port}");
        let mut flags = vec!["--webhook-addr", address.as_str()];
        flags.extend(["--cert-ttl", "6s", "--root-overlap", "6s"]);
        replicas.push(Controller::start(&api, api.port, &flags).await);
    }
    let first = eventually("the API server's trust", async || bundle(&client).await).await;
    let works = async |port: u16| {
        configure(&client, port).await;
        let refused = create(&client, &policy("p", BAD), true)
            .await
            .expect_err("bad");
        refused
            .contains("denied the request: AuthorizationPolicy shop/p")
            .then_some(())
    };
    for port in ports {
        eventually("its answer", async || works(port).await).await;
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let rotate = json!({"metadata": {"annotations": {"warren.dev/rotate-root": "now"}}});
    let patch = Patch::Merge(rotate);
    secrets
        .patch("warren-ca", &PatchParams::default(), &patch)
        .await
        .expect("annotated");
    let mut changes = vec![first];
    let started = std::time::Instant::now();
    while changes.len() < 3 || started.elapsed() < Duration::from_secs(20) {
        assert!(
            started.elapsed() < Duration::from_secs(90),
            "{} bundles",
            changes.len()
        );
        for port in ports {
            configure(&client, port).await;
            create(&client, &policy("p", GOOD), true)
                .await
                .expect("asked and taken, all the time");
        }
        let now = bundle(&client).await.expect("a bundle");
        if changes.last() != Some(&now) {
            changes.push(now);
        }
    }
    let roots = |b: &String| b.matches("BEGIN CERTIFICATE").count();
    let counts: Vec<usize> = changes.iter().map(roots).collect();
    assert_eq!(counts, [1, 2, 1]);
    drop(replicas);
}
