//! Plays scheduler and kubelet of one node: every pod is ready at once, and gone at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

pub const NODE: &str = "a";

/// What the kubelet has seen.
#[derive(Clone, Default)]
pub struct Seen {
    ended: Arc<Mutex<BTreeSet<String>>>,
}

impl Seen {
    /// The arguments of every container that has been ready and was then told to end.
    pub fn ended(&self) -> BTreeSet<String> {
        self.ended.lock().expect("the list").clone()
    }
}

/// Registers the node with a kernel of this release.
pub async fn register(client: &Client, kernel: &str) {
    let api: Api<Node> = Api::all(client.clone());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"kubernetes.io/os": "linux"}}});
    let params = PatchParams::apply("kubelet").force();
    api.patch(NODE, &params, &Patch::Apply(&node))
        .await
        .expect("the node");
    let info = json!({
        "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": kernel, "bootID": "", "containerRuntimeVersion": "",
        "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "osImage": "", "systemUUID": ""
    });
    let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null}]);
    let status = json!({"status": {"nodeInfo": info, "conditions": ready}});
    api.patch_status(NODE, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .expect("its status");
}

/// Runs until its task is ended.
pub fn run(client: Client) -> Seen {
    let seen = Seen::default();
    let record = seen.clone();
    tokio::spawn(async move {
        let api: Api<Pod> = Api::all(client.clone());
        loop {
            // An API server that has ended answers nothing, and then the test is over.
            for pod in api.list(&ListParams::default()).await.into_iter().flatten() {
                serve(&client, &pod, &record).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    seen
}

/// One step of a pod's life. Steps that fail are tried again by the next look.
async fn serve(client: &Client, pod: &Pod, seen: &Seen) {
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let name = pod.name_any();
    let spec = pod.spec.clone().unwrap_or_default();
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    if pod.metadata.deletion_timestamp.is_some() {
        if ready {
            let arguments = spec
                .containers
                .into_iter()
                .flat_map(|c| c.args.unwrap_or_default());
            seen.ended.lock().expect("the list").extend(arguments);
        }
        let _ = api
            .delete(&name, &DeleteParams::default().grace_period(0))
            .await;
    } else if spec.node_name.is_none() {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}
        });
        let _ = api
            .create_subresource::<Value, Value>("binding", &name, &PostParams::default(), &binding)
            .await;
    } else if !ready {
        let running = json!({"status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        }});
        let _ = api
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(&running))
            .await;
    }
}
