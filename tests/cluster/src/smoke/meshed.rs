//! The mesh at work: pods of two nodes talk by mutual TLS, others are refused, and talk on when it is gone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::mesh::SYSTEM;
use crate::wait;
use crate::workload_image::WORKLOAD;

/// Where the mesh's own components and the first pods in it have to be ready.
const LIMIT: Duration = Duration::from_secs(120);
/// How soon what was asked of the mesh has to be in force.
const SOON: Duration = Duration::from_secs(20);

/// A pod of the Deployment `web` in the namespace `meshed`.
struct Pod {
    name: String,
    node: String,
    address: String,
}

/// Pods that start in the mesh, under STRICT: ready by the kubelet's probes, each reaches the other, both as themselves.
pub(super) fn mutual_tls(kubectl: &Kubectl) -> Result<()> {
    kubectl.apply(&include_str!("meshed.yaml").replace("WORKLOAD_IMAGE", WORKLOAD))?;
    wait::until("ready pods in the mesh", LIMIT, &[], || {
        let path = "-o=jsonpath={.status.availableReplicas}";
        let web = ["get", "deployment", "web", "--namespace=meshed", path];
        Ok(kubectl.run(&web)? == "2")
    })
    .with_context(|| {
        let state = ["get", "pods,events", "--namespace=meshed", "-o=wide"];
        kubectl.run(&state).unwrap_or_default()
    })?;
    let pods = pods(kubectl)?;
    for (from, to) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
        let url = format!("http://{}:8080/", to.address);
        let answer = fetch(kubectl, "meshed", &from.name, &url)?;
        ensure!(answer == to.name, "{url} answered {answer}");
        for node in [&from.node, &to.node] {
            access_line(kubectl, from, to, node)?;
        }
    }
    Ok(())
}

/// A pod outside the mesh is refused by those inside.
pub(super) fn strict(kubectl: &Kubectl) -> Result<()> {
    let pods = pods(kubectl)?;
    let outside = "-o=jsonpath={.items[0].metadata.name}";
    let outside = kubectl.run(&["get", "pods", "--selector=app=web", outside])?;
    for pod in &pods {
        let url = format!("http://{}:8080/", pod.address);
        let answer = fetch(kubectl, "default", &outside, &url);
        ensure!(answer.is_err(), "{url} answered {answer:?} in plaintext");
    }
    Ok(())
}

/// Without the mesh its pods talk on in plaintext.
pub(super) fn plaintext(kubectl: &Kubectl) -> Result<()> {
    let pods = pods(kubectl)?;
    let url = format!("http://{}:8080/", pods[1].address);
    wait::until("plaintext in the mesh's place", SOON, &[], || {
        Ok(fetch(kubectl, "meshed", &pods[0].name, &url)? == pods[1].name)
    })
}

fn pods(kubectl: &Kubectl) -> Result<[Pod; 2]> {
    let get = ["get", "pods", "--namespace=meshed", "-o=json"];
    let list: Value = serde_json::from_str(&kubectl.run(&get)?)?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().context("no list")?.iter();
    let running = items.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let pods: Vec<Pod> = running
        .map(|pod| Pod {
            name: word(&pod["metadata"]["name"]),
            node: word(&pod["spec"]["nodeName"]),
            address: word(&pod["status"]["podIP"]),
        })
        .collect();
    let pods = <[Pod; 2]>::try_from(pods).map_err(|all| {
        let names: Vec<_> = all.into_iter().map(|pod| pod.name).collect();
        anyhow::anyhow!("two pods are wanted, not {names:?}")
    })?;
    ensure!(pods[0].node != pods[1].node, "both are on {}", pods[0].node);
    Ok(pods)
}

fn fetch(kubectl: &Kubectl, namespace: &str, pod: &str, url: &str) -> Result<String> {
    let curl = ["curl", "-sSf", "--max-time", "5", url];
    let words = ["exec", "--namespace", namespace, pod, "--"];
    Ok(kubectl
        .run(&[&words[..], &curl].concat())?
        .trim()
        .to_owned())
}

/// The tunnel of `node` tells of a connection between the pods by mutual TLS.
fn access_line(kubectl: &Kubectl, from: &Pod, to: &Pod, node: &str) -> Result<()> {
    let field = format!("--field-selector=spec.nodeName={node}");
    let name = "-o=jsonpath={.items[0].metadata.name}";
    let select = "--selector=app.kubernetes.io/name=warren-ztunnel";
    let tunnel = kubectl.run(&["get", "pods", "--namespace", SYSTEM, select, &field, name])?;
    let wanted = [
        " access ".to_owned(),
        format!("{}:", from.address),
        format!("{}:8080", to.address),
        "spiffe://cluster.local/ns/meshed/sa/default".to_owned(),
        "security=mutual_tls".to_owned(),
    ];
    let line = format!("a line with {wanted:?} in the log of {tunnel}");
    wait::until(&line, SOON, &[], || {
        let log = kubectl.run(&["logs", "--namespace", SYSTEM, &tunnel])?;
        let fits = |line: &str| wanted.iter().all(|part| line.contains(part.as_str()));
        Ok(log.lines().any(fits))
    })
}
