//! An installation from its first day to its last, on a real API server with Kubernetes' own controllers and one node that is played.

use std::path::Path;

use kube::Client;
use warren_apiserver::eventually;

use crate::support::Cluster;
use crate::support::kubelet::{self, Seen};

const KINDS: &str = "deployments,daemonsets,services,serviceaccounts,configmaps,secrets,poddisruptionbudgets,validatingwebhookconfigurations";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the test cluster's programs"]
async fn install_upgrade_uninstall() {
    let cluster = Cluster::start().await;
    let client = cluster.api.client();
    for command in ["upgrade", "uninstall"] {
        let done = cluster.warren(&[command]).await;
        done.fails(
            1,
            &[
                "not installed in the namespace warren-system",
                "warren install",
            ],
        );
    }
    let seen = kubelet::run(client.clone());
    refused_on_an_old_kernel(&cluster, &client).await;
    installed(&cluster).await;
    upgraded(&cluster).await;
    what_the_controller_makes(&cluster).await;
    uninstalled(&cluster, &seen).await;
    purged(&cluster).await;
}

async fn refused_on_an_old_kernel(cluster: &Cluster, client: &Client) {
    kubelet::register(client, "5.15.0-91-generic").await;
    let done = cluster.warren(&["install"]).await;
    done.fails(
        1,
        &[
            "a check of the cluster fails",
            "nothing was changed",
            "--skip-checks",
        ],
    );
    assert!(done.err.contains("a has 5.15.0-91-generic"), "{}", done.err);
    kubelet::register(client, "6.1.0-13-amd64").await;
    let done = cluster.warren(&["install", "--dry-run"]).await.ok();
    assert!(done.out.contains("kind: DaemonSet"), "{}", done.out);
    let names = cluster.kubectl(&["get", "namespaces", "-o=name"]).await;
    assert!(!names.contains("warren-system"), "{names}");
}

async fn installed(cluster: &Cluster) {
    cluster
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
        .await;
    let words = [
        "install",
        "--wait",
        "--timeout",
        "60s",
        "--set",
        "control.replicas=2",
        "--set",
        "control.rootConfigMapNamespaces={shop}",
    ];
    let done = cluster.warren(&words).await.ok();
    for line in [
        "check ok: Kubernetes: v1.",
        "check ok: kernels of the nodes",
        "not visible from here",
        "made the namespace warren-system",
        "installing the mesh",
        "is installed in warren-system",
    ] {
        assert!(done.err.contains(line), "{line} in {}", done.err);
    }
    assert_eq!(replicas(cluster).await, "2");
    assert_eq!(may_publish(cluster, "shop").await, [true, true]);
    assert_eq!(may_publish(cluster, "default").await, [false, false]);
    cluster.warren(&["install"]).await.fails(
        1,
        &[
            "is installed in warren-system already (deployed)",
            "warren upgrade",
        ],
    );
    let other = cluster.warren(&["install", "--namespace", "other"]).await;
    other.fails(
        1,
        &[
            "in the namespace warren-system",
            "--namespace warren-system",
        ],
    );
}

async fn upgraded(cluster: &Cluster) {
    let words = [
        "upgrade",
        "--wait",
        "--timeout",
        "60s",
        "--set",
        "accessLog=json",
    ];
    cluster.warren(&words).await.ok();
    assert_eq!(replicas(cluster).await, "2", "earlier settings stay");
    let args = arguments(cluster, "warren-ztunnel").await;
    assert!(args.contains("--access-log=json"), "{args}");
}

/// As it does on a cluster where it runs.
async fn what_the_controller_makes(cluster: &Cluster) {
    let made = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: v1
kind: Secret
metadata: {name: warren-ca, namespace: warren-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: warren-ca-root, namespace: warren-system}
data: {root-cert.pem: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: warren-ca-root, namespace: shop}
data: {root-cert.pem: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: warren-ca-root, namespace: other}
data: {somebody: else}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: warren-control, namespace: warren-system}
---
apiVersion: v1
kind: Event
metadata: {name: cart.1, namespace: shop}
involvedObject: {kind: Service, name: cart, namespace: shop}
reason: NotHonoured
source: {component: warren-control}
---
apiVersion: v1
kind: Event
metadata: {name: cart.2, namespace: shop}
involvedObject: {kind: Service, name: cart, namespace: shop}
reason: Other
source: {component: somebody}
---
apiVersion: warren.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec: {}
"#;
    cluster.apply(made).await;
}

async fn uninstalled(cluster: &Cluster, seen: &Seen) {
    let refused = cluster.warren(&["uninstall", "--purge-crds"]).await;
    refused.fails(1, &["1 authorizationpolicies", "--yes"]);
    assert!(!seen.ended().contains("--cni-remove-on-exit"));
    let done = cluster
        .warren(&["uninstall", "--timeout", "60s"])
        .await
        .ok();
    assert!(
        seen.ended().contains("--cni-remove-on-exit"),
        "agents that leave were ready before they ended"
    );
    for line in [
        "telling the agents to leave nothing",
        "removed what the controller had made: 5 objects",
        "(1 authorizationpolicies)",
    ] {
        assert!(done.err.contains(line), "{line} in {}", done.err);
    }
    assert_eq!(cluster.ours(KINDS).await, "");
    let rights = ["get", "roles,rolebindings", "--all-namespaces", "-o=name"];
    let rights = cluster.kubectl(&rights).await;
    assert!(!rights.contains("warren"), "{rights}");
    let left = cluster
        .kubectl(&[
            "get",
            "configmaps,leases,events",
            "--all-namespaces",
            "-o=name",
        ])
        .await;
    // Kubernetes' own about our objects go by themselves, an hour later.
    let own = |line: &&str| {
        line.contains("cart.1") || line.contains("warren") && !line.starts_with("event/")
    };
    let ours: Vec<&str> = left.lines().filter(own).collect();
    assert_eq!(ours, ["configmap/warren-ca-root"], "only somebody else's");
    let policy = cluster
        .kubectl(&[
            "get",
            "authorizationpolicies",
            "--all-namespaces",
            "-o=name",
        ])
        .await;
    assert!(policy.contains("closed"));
    cluster
        .warren(&["uninstall"])
        .await
        .fails(1, &["not installed"]);
}

async fn purged(cluster: &Cluster) {
    let words = ["uninstall", "--purge-crds", "--yes", "--timeout", "60s"];
    let done = cluster.warren(&words).await.ok();
    assert!(
        done.err.contains("and with them 1 authorizationpolicies"),
        "{}",
        done.err
    );
    eventually("the namespace is gone", async || {
        let all = "customresourcedefinitions,namespaces,clusterroles,clusterrolebindings";
        let names = cluster.kubectl(&["get", all, "-o=name"]).await;
        (!names.contains("warren")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the test cluster's programs"]
async fn agents_that_cannot_run_are_named_and_may_be_passed_over() {
    let cluster = Cluster::start().await;
    kubelet::register(&cluster.api.client(), "6.1.0").await;
    cluster.warren(&["install"]).await.ok();
    let stuck = cluster.warren(&["uninstall", "--timeout", "3s"]).await;
    stuck.fails(1, &["the agents of 1 node", "within 3 s", "--skip-leave"]);
    assert!(
        arguments(&cluster, "warren-agent")
            .await
            .contains("--cni-remove-on-exit")
    );
    // Going on with the mesh takes that back.
    cluster.warren(&["upgrade"]).await.ok();
    assert!(
        !arguments(&cluster, "warren-agent")
            .await
            .contains("--cni-remove-on-exit")
    );
    let failed = cluster
        .warren(&["upgrade", "--wait", "--timeout", "3s"])
        .await;
    failed.fails(
        1,
        &[
            "helm upgrade failed",
            "not ready: warren-control (ready: 0 of 1 replicas)",
        ],
    );
    let done = cluster
        .warren(&["uninstall", "--skip-leave", "--timeout", "60s"])
        .await
        .ok();
    assert!(done.err.contains("not told to leave"), "{}", done.err);
    assert_eq!(cluster.ours(KINDS).await, "");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the test cluster's programs"]
async fn every_object_is_valid_to_the_letter() {
    let cluster = Cluster::start().await;
    let monitors = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PodMonitor, plural: podmonitors, singular: podmonitor, listKind: PodMonitorList}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ingress}
"#;
    cluster.apply(monitors).await;
    let served = [
        "wait",
        "--for=condition=Established",
        "crd/podmonitors.monitoring.coreos.com",
    ];
    cluster.kubectl(&served).await;
    let values = crate::support::deploy().join("golden/everything.values.yaml");
    let values = Path::new(&values).to_str().expect("UTF-8");
    for words in [&["render"][..], &["render", "--values", values]] {
        let text = crate::support::warren(words).ok().out;
        let said = cluster.apply(&text).await;
        assert!(
            said.contains("daemonset.apps/warren-agent serverside-applied"),
            "{said}"
        );
    }
    let done = cluster.warren(&["install"]).await;
    done.fails(1, &["was not installed by Helm", "kubectl delete"]);
}

/// Whether the controller may create, and patch, the ConfigMap with the roots there.
async fn may_publish(cluster: &Cluster, namespace: &str) -> [bool; 2] {
    [
        cluster.may("create", "configmaps", namespace).await,
        cluster
            .may("patch", "configmaps/warren-ca-root", namespace)
            .await,
    ]
}

async fn replicas(cluster: &Cluster) -> String {
    let path = "-o=jsonpath={.spec.replicas}";
    cluster
        .kubectl(&[
            "get",
            "deployment",
            "warren-control",
            "-n=warren-system",
            path,
        ])
        .await
}

async fn arguments(cluster: &Cluster, daemon: &str) -> String {
    let path = "-o=jsonpath={.spec.template.spec.containers[0].args}";
    cluster
        .kubectl(&["get", "daemonset", daemon, "-n=warren-system", path])
        .await
}
