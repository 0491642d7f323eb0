//! Clusters where something is in the way.

use std::fs;
use std::path::Path;

use crate::support::{Cluster, deploy};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the test cluster's programs"]
async fn who_may_not_is_told_what_is_missing() {
    let cluster = Cluster::start().await;
    let role = [
        "create",
        "clusterrole",
        "reader",
        "--verb=get,list",
        "--resource=*.*",
    ];
    cluster.kubectl(&role).await;
    let binding = [
        "create",
        "clusterrolebinding",
        "reader",
        "--clusterrole=reader",
        "--user=guest",
    ];
    cluster.kubectl(&binding).await;
    let guest = cluster.api.kubeconfig("guest-token", cluster.api.port);
    let words = ["install", "--kubeconfig", guest.to_str().expect("UTF-8")];
    let missing = [
        "create namespaces",
        "create clusterroles",
        "create daemonsets in warren-system",
        "cluster-admin",
    ];
    cluster.warren(&words).await.fails(1, &missing);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the test cluster's programs"]
async fn other_meshes_namespaces_and_releases() {
    let cluster = Cluster::start().await;
    let istio = r#"
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: warren-system, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: istio-cni-node, namespace: istio-system}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config, namespace: kube-system}
data: {kube-proxy-replacement: "true"}
"#;
    cluster.apply(istio).await;
    let done = cluster.warren(&["install"]).await;
    done.fails(1, &["a check of the cluster fails"]);
    for line in [
        "warning: other meshes: Istio's CNI plugin (istio-system/istio-cni-node)",
        "warning: other meshes: Cilium chooses",
        "FAILS: namespace: warren-system admits only restricted pods",
        "warning: kernels of the nodes: no node with Linux",
    ] {
        assert!(done.err.contains(line), "{line} in {}", done.err);
    }
    let chart = deploy().join("charts/mesh");
    let words = [
        "install",
        "mesh",
        chart.to_str().expect("UTF-8"),
        "--namespace",
        "istio-system",
    ];
    cluster.helm(&words).await.ok();
    for command in ["install", "upgrade", "uninstall"] {
        let done = cluster.warren(&[command]).await;
        done.fails(
            1,
            &[
                "Helm's release mesh in the namespace istio-system",
                "helm uninstall mesh -n istio-system",
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the test cluster's programs"]
async fn a_newer_mesh_is_not_taken_back_too_far() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let newer = folder.path().join("mesh");
    copy(&deploy().join("charts/mesh"), &newer);
    let chart = newer.join("Chart.yaml");
    let text = fs::read_to_string(&chart).expect("the chart");
    fs::write(&chart, text.replace(": 0.1.0", ": 9.9.9")).expect("written");
    let words = [
        "install",
        "warren",
        newer.to_str().expect("UTF-8"),
        "--namespace",
        "warren-system",
        "--create-namespace",
    ];
    cluster.helm(&words).await.ok();
    cluster
        .warren(&["upgrade"])
        .await
        .fails(1, &["the mesh is 9.9.9", "not older than 9.8"]);
    cluster
        .warren(&["uninstall"])
        .await
        .fails(1, &["the mesh is 9.9.9", "with the `warren` of 9.9.9"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).expect("copied");
        }
    }
}
