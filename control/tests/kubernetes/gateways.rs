//! Statuses of objects of the Gateway API.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use warren_control::status::gateway::CONTROLLER;

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::{apply, get, namespace};

const GROUP: &str = "gateway.networking.k8s.io";

/// The kinds, without their schemas.
async fn install(client: &Client) {
    let api = Api::all(client.clone());
    for (kind, plural, scope) in [
        ("GatewayClass", "gatewayclasses", "Cluster"),
        ("Gateway", "gateways", "Namespaced"),
        ("HTTPRoute", "httproutes", "Namespaced"),
    ] {
        let definition = json!({
            "metadata": {
                "name": format!("{plural}.{GROUP}"),
                "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
            },
            "spec": {
                "group": GROUP,
                "scope": scope,
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
                "versions": [{
                    "name": "v1",
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        });
        let definition: CustomResourceDefinition =
            serde_json::from_value(definition).expect("a definition");
        let made = api.create(&PostParams::default(), &definition).await;
        made.expect("a definition that the API server takes");
    }
    // It serves them a moment later.
    eventually("the kinds", async || {
        for plural in ["gatewayclasses", "gateways", "httproutes"] {
            let path = format!("/apis/{GROUP}/v1/{plural}");
            let request = http::Request::get(path).body(Vec::new());
            client.request_text(request.expect("request")).await.ok()?;
        }
        Some(())
    })
    .await;
}

fn object(kind: &str, name: &str, rest: &str) -> String {
    let namespace = match kind {
        "GatewayClass" => "",
        _ => ", namespace: shop",
    };
    format!(
        "{{apiVersion: {GROUP}/v1, kind: {kind}, metadata: {{name: {name}{namespace}}}, {rest}}}\n---\n"
    )
}

async fn status(client: &Client, yaml: &str) -> Value {
    get(client, yaml).await["status"].clone()
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn what_is_ours_says_that_it_is_not_served_and_nothing_else_is_touched() {
    let (api, client) = ApiServer::installed(&[]).await;
    install(&client).await;
    apply(&client, &namespace("shop")).await;
    let theirs = object(
        "GatewayClass",
        "theirs",
        "spec: {controllerName: example.com/other}",
    );
    let gateway = object(
        "Gateway",
        "way",
        "spec: {gatewayClassName: warren-waypoint}",
    );
    let other = object("Gateway", "other", "spec: {gatewayClassName: theirs}");
    let report = "{parentRef: {name: other}, controllerName: example.com/other, conditions: []}";
    let route = object(
        "HTTPRoute",
        "route",
        &format!(
            "spec: {{parentRefs: [{{group: \"\", kind: Service, name: web}}, {{name: other}}]}}, status: {{parents: [{report}]}}"
        ),
    );
    let foreign = object(
        "HTTPRoute",
        "foreign",
        "spec: {parentRefs: [{name: other}]}",
    );
    let all = [&theirs, &gateway, &other, &route, &foreign];
    apply(&client, &all.map(String::as_str).concat()).await;
    let c = Controller::start(&api, api.port, &[]).await;

    let parents = eventually("our report", async || {
        let parents = status(&client, &route).await["parents"]
            .as_array()
            .cloned()?;
        (parents.len() == 2).then_some(parents)
    })
    .await;
    assert_eq!(parents[0]["controllerName"], "example.com/other");
    assert_eq!(parents[1]["controllerName"], CONTROLLER);
    let condition = &parents[1]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"]),
        (&json!("Accepted"), &json!("False"))
    );
    let message = condition["message"].as_str().expect("text");
    assert!(
        message.contains("waypoint, which this release does not have"),
        "{message}"
    );

    // The class comes later, and makes a Gateway ours that was there before.
    assert_eq!(status(&client, &gateway).await, Value::Null);
    let ours = object(
        "GatewayClass",
        "warren-waypoint",
        &format!("spec: {{controllerName: {CONTROLLER}}}"),
    );
    apply(&client, &ours).await;
    for object in [&ours, &gateway] {
        eventually("a condition", async || {
            let status = status(&client, object).await;
            let accepted = status["conditions"]
                .as_array()?
                .iter()
                .find(|c| c["type"] == "Accepted")?
                .clone();
            assert_eq!(
                (&accepted["status"], &accepted["reason"]),
                (&json!("False"), &json!("Unsupported"))
            );
            Some(())
        })
        .await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for object in [&theirs, &other, &foreign] {
        assert_eq!(status(&client, object).await, Value::Null, "{object}");
    }
    for (kind, writes) in [("GatewayClass", 1), ("Gateway", 1), ("HTTPRoute", 1)] {
        assert_eq!(
            c.metric("status_writes", kind).await,
            writes,
            "{kind}: once"
        );
    }
}
