//! Objects, as the administrator writes them.

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;
use warren_control::source::dir::document;

use super::{SYSTEM, eventually};

/// Applies YAML; statuses too, where they are given.
pub async fn apply(client: &Client, yaml: &str) {
    let (documents, malformed) = document::parse(yaml, false);
    assert_eq!(malformed, [], "{yaml}");
    for document in documents {
        apply_one(client, document.value).await;
    }
}

async fn apply_one(client: &Client, value: Value) {
    let (api, name) = api_of(client, &value);
    let params = PatchParams::apply("test").force();
    let done = api.patch(&name, &params, &Patch::Apply(&value)).await;
    done.unwrap_or_else(|e| panic!("{e}: {value}"));
    if value.get("status").is_some() {
        let done = api
            .patch_status(&name, &params, &Patch::Apply(&value))
            .await;
        done.unwrap_or_else(|e| panic!("{e}: {value}"));
    }
}

/// Deletes at once, without a period of grace.
pub async fn delete(client: &Client, yaml: &str) {
    for document in document::parse(yaml, false).0 {
        let (api, name) = api_of(client, &document.value);
        let params = DeleteParams::default().grace_period(0);
        api.delete(&name, &params).await.expect("deleted");
    }
}

pub async fn get(client: &Client, yaml: &str) -> Value {
    let document = document::parse(yaml, false).0.remove(0);
    let (api, name) = api_of(client, &document.value);
    let object = api.get(&name).await.expect("it exists");
    serde_json::to_value(object).expect("JSON")
}

pub fn api_of(client: &Client, value: &Value) -> (Api<DynamicObject>, String) {
    let text = |p: &str| value.pointer(p).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion")
        .split_once('/')
        .unwrap_or(("", text("/apiVersion")));
    let kind = text("/kind");
    let plural = match kind.to_lowercase() {
        k if k.ends_with("policy") => format!("{}ies", &k[..k.len() - 1]),
        k if k.ends_with("class") => format!("{k}es"),
        k => format!("{k}s"),
    };
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
    let api = match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    (api, text("/metadata/name").to_owned())
}

pub fn namespace(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{warren.dev/mesh: enabled}}}}}}\n---\n"
    )
}

pub fn node(name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: zone-{name}}}}}}}\n---\n"
    )
}

/// A ready pod with an address, as a kubelet would report it.
pub fn pod(namespace: &str, name: &str, account: &str, node: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {account}}}}}
spec:
  nodeName: {node}
  serviceAccountName: {account}
  containers: [{{name: c, image: i, env: [{{name: SECRET, value: hidden}}], ports: [{{name: http, containerPort: 8080}}]}}]
status:
  phase: Running
  podIP: \"{ip}\"
  podIPs: [{{ip: \"{ip}\"}}]
  conditions: [{{type: Ready, status: \"True\"}}]
---
"
    )
}

/// What every test begins with: the controller's namespace and permissions.
pub async fn install(client: &Client) {
    let rbac = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/charts/mesh/files/control-rbac.yaml"
    ));
    apply(client, &namespace(SYSTEM).replace("enabled", "disabled")).await;
    apply(client, &rbac.expect("control-rbac.yaml")).await;
}

/// Installs our CustomResourceDefinitions and waits until they are served.
pub async fn install_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in warren_crds::render::definitions() {
        let made = api.create(&PostParams::default(), &definition).await;
        made.expect("a definition that the API server takes");
    }
    eventually("the definitions", async || {
        let all = api.list(&kube::api::ListParams::default()).await.ok()?;
        let established = |crd: &CustomResourceDefinition| {
            let conditions = crd
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten());
            conditions
                .into_iter()
                .any(|c| c.type_ == "Established" && c.status == "True")
        };
        (all.items.len() >= 2 && all.items.iter().all(established)).then_some(())
    })
    .await;
}

/// A token as a kubelet projects it into a pod.
pub async fn token(
    client: &Client,
    namespace: &str,
    account: &str,
    pod: &str,
    audience: &str,
) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let uid = pods.get(pod).await.expect("pod").metadata.uid;
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![audience.to_owned()]),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: Some(pod.to_owned()),
                uid,
            }),
            expiration_seconds: Some(3_600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await;
    let status = answer.expect("a token").status.expect("status");
    status.token.expect("text")
}

pub fn account(namespace: &str, name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}, namespace: {namespace}}}}}\n---\n"
    )
}
