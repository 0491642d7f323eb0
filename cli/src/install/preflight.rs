//! What can be known before an installation: the API server's version, the nodes' kernels, the namespace, other meshes.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::cluster::Cluster;
use super::error::Error;
use super::say;
use crate::check::{self, Finding, Verdict};

/// The oldest minor version of Kubernetes 1.
const KUBERNETES: u32 = 30;
/// Who made the namespace, and may take it away.
pub const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "warren");
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Workloads by which other meshes are known.
const OTHERS: &[(&str, &str)] = &[
    ("istiod", "Istio"),
    ("istio-cni-node", "Istio's CNI plugin"),
    ("linkerd-destination", "Linkerd"),
    ("kuma-control-plane", "Kuma"),
    ("consul-connect-injector", "Consul"),
];
const NOT_SEEN: &str = "not visible from here, and looked at by the agents when they start: cgroup v2, BTF, the folders of CNI";

/// Looks, and tells what was found.
///
/// # Errors
/// Something stands in the way, unless that is to be passed over.
pub async fn run(cluster: &Cluster, namespace: &str, skip: bool) -> Result<(), Error> {
    let mut findings = vec![kubernetes(&cluster.version.git_version)];
    findings.extend(nodes(cluster).await?);
    findings.extend(namespace_of(cluster, namespace).await?);
    findings.extend(others(cluster).await?);
    for finding in &findings {
        let (mark, remedy) = match finding.result {
            Verdict::Pass => ("ok", String::new()),
            Verdict::Warn => ("warning", format!("; {}", finding.remedy)),
            Verdict::Fail => ("FAILS", format!("; {}", finding.remedy)),
        };
        say(format_args!(
            "check {mark}: {}: {}{remedy}",
            finding.check, finding.found
        ));
    }
    say(NOT_SEEN);
    let count = findings
        .iter()
        .filter(|f| f.result == Verdict::Fail)
        .count();
    if count > 0 && !skip {
        return Err(Error::Checks { count });
    }
    Ok(())
}

/// Makes the mesh's namespace where it is missing: labelled as ours, and open to what agents and tunnels need.
///
/// # Errors
/// The API server refuses.
pub async fn make_namespace(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let failed = |e| Error::api(format!("make the namespace {name}"), &e);
    if api.get_opt(name).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    let params = PatchParams::apply("warren");
    api.patch(name, &params, &Patch::Apply(&namespace(name)))
        .await
        .map_err(failed)?;
    say(format_args!("made the namespace {name}"));
    Ok(())
}

/// The namespace as a document of its own.
pub fn namespace_yaml(name: &str) -> String {
    // JSON is YAML, and this object has nothing that needs quoting.
    format!("---\n{}\n", namespace(name))
}

fn namespace(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {OURS.0: OURS.1, ENFORCE: "privileged"}},
    })
}

fn kubernetes(version: &str) -> Finding {
    let mut numbers = version.trim_start_matches('v').split('.');
    let major = numbers.next().and_then(|n| n.parse::<u32>().ok());
    let minor = numbers.next().and_then(|n| n.parse::<u32>().ok());
    match (major, minor) {
        (Some(1), Some(minor)) if minor < KUBERNETES => Finding::fail(
            "Kubernetes",
            version,
            format!("1.{KUBERNETES} or newer is needed"),
        ),
        (Some(_), Some(_)) => Finding::pass("Kubernetes", version),
        _ => Finding::warn("Kubernetes", version, "this is no version that is known"),
    }
}

/// Every node with Linux whose kernel is too old, or all in one line.
async fn nodes(cluster: &Cluster) -> Result<Vec<Finding>, Error> {
    const CHECK: &str = "kernels of the nodes";
    let api: Api<Node> = Api::all(cluster.client.clone());
    let nodes = api.list(&ListParams::default()).await;
    let nodes = nodes.map_err(|e| Error::api("list the nodes", &e))?;
    let info = |node: &Node| {
        let info = node.status.as_ref()?.node_info.as_ref()?;
        (info.operating_system == "linux").then(|| (node.name_any(), info.kernel_version.clone()))
    };
    let linux: Vec<(String, String)> = nodes.items.iter().filter_map(info).collect();
    if linux.is_empty() {
        let remedy = "agents and tunnels start as soon as one joins";
        return Ok(vec![Finding::warn(CHECK, "no node with Linux", remedy)]);
    }
    Ok(judge(CHECK, &linux))
}

fn judge(check: &str, nodes: &[(String, String)]) -> Vec<Finding> {
    let old = |(_, kernel): &&(String, String)| check::kernel_is_old(kernel);
    let old: Vec<String> = nodes
        .iter()
        .filter(old)
        .map(|(name, kernel)| format!("{name} has {kernel}"))
        .collect();
    if old.is_empty() {
        return vec![Finding::pass(
            check,
            format!("6.1 or newer on all {}", nodes.len()),
        )];
    }
    let remedy = "Linux 6.1 or newer is needed: upgrade them, or leave them out by agent.nodeSelector and ztunnel.nodeSelector";
    vec![Finding::fail(check, old.join(", "), remedy)]
}

async fn namespace_of(cluster: &Cluster, name: &str) -> Result<Option<Finding>, Error> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let found = api.get_opt(name).await;
    let found = found.map_err(|e| Error::api(format!("read the namespace {name}"), &e))?;
    let Some(namespace) = found else {
        return Ok(None);
    };
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Some(Finding::fail(
            "namespace",
            format!("{name} is being deleted"),
            "wait until it is gone",
        )));
    }
    let level = namespace
        .labels()
        .get(ENFORCE)
        .map_or("privileged", String::as_str);
    if level == "privileged" {
        return Ok(None);
    }
    let remedy = format!(
        "`kubectl label namespace {name} --overwrite {ENFORCE}=privileged`: agents and tunnels need capabilities and folders of the node"
    );
    Ok(Some(Finding::fail(
        "namespace",
        format!("{name} admits only {level} pods"),
        remedy,
    )))
}

/// Meshes beside ours, and a load balancer ahead of ours; those that may not be looked for are not found.
async fn others(cluster: &Cluster) -> Result<Vec<Finding>, Error> {
    let client = &cluster.client;
    let failed = |e| Error::api("look for other meshes", &e);
    let params = ListParams::default();
    let deployments = Api::<Deployment>::all(client.clone())
        .list_metadata(&params)
        .await
        .map_err(failed)?;
    let daemons = Api::<DaemonSet>::all(client.clone())
        .list_metadata(&params)
        .await
        .map_err(failed)?;
    let all = deployments
        .items
        .iter()
        .map(|d| &d.metadata)
        .chain(daemons.items.iter().map(|d| &d.metadata));
    let mut findings = Vec::new();
    for object in all {
        let name = object.name.as_deref().unwrap_or_default();
        if let Some((_, mesh)) = OTHERS.iter().find(|(workload, _)| *workload == name) {
            let place = object.namespace.as_deref().unwrap_or_default();
            let remedy = "a pod may be in one mesh only: take the other's label from a namespace before it gets ours";
            findings.push(Finding::warn(
                "other meshes",
                format!("{mesh} ({place}/{name})"),
                remedy,
            ));
        }
    }
    let config = Api::<ConfigMap>::namespaced(client.clone(), "kube-system")
        .get_opt("cilium-config")
        .await;
    findings.extend(config.map_err(failed)?.and_then(|config| cilium(&config)));
    if findings.is_empty() {
        findings.push(Finding::pass("other meshes", "none known"));
    }
    Ok(findings)
}

/// Cilium's socket load balancer hides a Service's address from every program behind it.
fn cilium(config: &ConfigMap) -> Option<Finding> {
    let data = config.data.as_ref()?;
    let is = |key: &str| data.get(key).is_some_and(|value| value == "true");
    let balances = is("kube-proxy-replacement") || is("bpf-lb-sock");
    if !balances || is("bpf-lb-sock-hostns-only") {
        return None;
    }
    let found = "Cilium chooses Services' backends in pods' sockets, ahead of the mesh";
    let remedy = "set socketLB.hostNamespaceOnly=true in Cilium, or Services' policies and balancing are not Warren's";
    Some(Finding::warn("other meshes", found, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kubernetes() {
        for (version, verdict) in [
            ("v1.36.3", Verdict::Pass),
            ("v1.30.0-gke.1", Verdict::Pass),
            ("v1.29.9", Verdict::Fail),
            ("devel", Verdict::Warn),
        ] {
            assert_eq!(kubernetes(version).result, verdict, "{version}");
        }
    }

    #[test]
    fn old_kernels_are_named() {
        let node = |name: &str, kernel: &str| (name.to_owned(), kernel.to_owned());
        let good = [node("a", "6.1.0-13-amd64"), node("b", "7.0.1")];
        assert_eq!(judge("k", &good)[0].result, Verdict::Pass);
        let bad = [
            node("a", "6.1.0"),
            node("b", "5.14.0-427.13.1.el9_4.x86_64"),
            node("c", ""),
        ];
        let finding = &judge("k", &bad)[0];
        assert_eq!(finding.result, Verdict::Fail);
        assert!(
            finding.found.contains("b has 5.14") && !finding.found.contains("a has"),
            "{finding:?}"
        );
    }

    #[test]
    fn cilium_is_in_the_way_only_where_it_balances_in_pods() {
        let config = |pairs: &[(&str, &str)]| ConfigMap {
            data: Some(
                pairs
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            ),
            ..ConfigMap::default()
        };
        assert!(cilium(&config(&[("kube-proxy-replacement", "true")])).is_some());
        assert!(
            cilium(&config(&[
                ("kube-proxy-replacement", "true"),
                ("bpf-lb-sock-hostns-only", "true")
            ]))
            .is_none()
        );
        assert!(cilium(&config(&[("kube-proxy-replacement", "false")])).is_none());
    }
}
