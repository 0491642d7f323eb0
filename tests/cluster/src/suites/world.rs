//! What suites share: namespaces, objects out of small files, waiting, and questions to pods.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::mesh::SYSTEM;
use crate::workload_image::WORKLOAD;
use crate::{commands, wait};

/// Where what was asked of Kubernetes has to be done.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
/// Where what was asked of the mesh has to be in force.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A running cluster with the mesh.
pub(super) struct World {
    pub(super) kubectl: Kubectl,
    pub(super) layout: Layout,
}

/// A namespace; it is deleted when this is dropped.
pub(super) struct Namespace<'a> {
    pub(super) world: &'a World,
    pub(super) name: &'static str,
}

impl World {
    pub(super) fn new(kubectl: Kubectl, layout: Layout) -> Self {
        Self { kubectl, layout }
    }

    /// A namespace in the mesh, where nothing but mutual TLS and direct flows is let in.
    pub(super) fn strict(&self, name: &'static str) -> Result<Namespace<'_>> {
        self.namespace(name, include_str!("strict.yaml"))
    }

    /// A namespace in the mesh that lets plaintext in.
    pub(super) fn enrolled(&self, name: &'static str) -> Result<Namespace<'_>> {
        self.namespace(name, include_str!("enrolled.yaml"))
    }

    /// A namespace outside the mesh.
    pub(super) fn plain(&self, name: &'static str) -> Result<Namespace<'_>> {
        self.namespace(name, include_str!("plain.yaml"))
    }

    fn namespace(&self, name: &'static str, yaml: &str) -> Result<Namespace<'_>> {
        // What an earlier run left may be about to go.
        let delete = [
            "delete",
            "namespace",
            name,
            "--ignore-not-found",
            "--timeout=120s",
        ];
        self.kubectl.patient(&delete)?;
        self.kubectl.apply(&yaml.replace("{{NAMESPACE}}", name))?;
        Ok(Namespace { world: self, name })
    }

    /// Restarts a DaemonSet or Deployment of the mesh and waits for its end.
    pub(super) fn restart(&self, namespace: &str, what: &str) -> Result<()> {
        let space = format!("--namespace={namespace}");
        self.kubectl.run(&["rollout", "restart", what, &space])?;
        self.rolled_out(namespace, what)
    }

    /// Waits until all pods of a Deployment, DaemonSet or StatefulSet are as wanted.
    pub(super) fn rolled_out(&self, namespace: &str, what: &str) -> Result<()> {
        let space = format!("--namespace={namespace}");
        let status = ["rollout", "status", what, &space, "--timeout=120s"];
        self.kubectl
            .patient(&status)
            .map(drop)
            .with_context(|| self.state(namespace))
    }

    /// What a person would look at first.
    pub(super) fn state(&self, namespace: &str) -> String {
        let space = format!("--namespace={namespace}");
        let state = ["get", "pods,events", &space, "-o=wide"];
        self.kubectl.run(&state).unwrap_or_default()
    }

    /// Runs a command among a node's own processes.
    pub(super) fn on_node(&self, node: &str, command: &[&str]) -> Result<Output> {
        let mut enter = commands::node::enter(&self.layout, node)?;
        enter.args(command).output().context("start nsenter")
    }

    /// The name of the tunnel's pod on a node.
    pub(super) fn tunnel(&self, node: &str) -> Result<String> {
        let text = self.kubectl.run(&[
            "get",
            "pods",
            "--namespace",
            SYSTEM,
            "--selector=app.kubernetes.io/name=warren-ztunnel",
            &format!("--field-selector=spec.nodeName={node},status.phase=Running"),
            "-o=jsonpath={.items[*].metadata.name}",
        ])?;
        let name = text.split_whitespace().next_back();
        name.map(str::to_owned)
            .with_context(|| format!("no tunnel runs on {node}"))
    }

    /// The value at `path` of the object `what`.
    pub(super) fn value(&self, namespace: &str, what: &str, path: &str) -> Result<String> {
        let space = format!("--namespace={namespace}");
        let path = format!("-o=jsonpath={{{path}}}");
        self.kubectl.run(&["get", what, &space, &path])
    }
}

impl Namespace<'_> {
    /// Applies objects; words in double braces are replaced.
    pub(super) fn apply(&self, yaml: &str, words: &[(&str, &str)]) -> Result<()> {
        let mut yaml = yaml
            .replace("{{NAMESPACE}}", self.name)
            .replace("{{IMAGE}}", WORKLOAD);
        for (word, value) in words {
            yaml = yaml.replace(&format!("{{{{{word}}}}}"), value);
        }
        self.world.kubectl.apply(&yaml)
    }

    /// Serves HTTP with a Deployment and a Service `name`, and waits for it. Without a node, pods are spread.
    pub(super) fn web(&self, name: &str, replicas: usize, node: Option<&str>) -> Result<()> {
        self.apply(
            include_str!("web.yaml"),
            &[
                ("NAME", name),
                ("REPLICAS", &replicas.to_string()),
                ("NODES", &node.map_or("a, b".to_owned(), str::to_owned)),
            ],
        )?;
        self.rolled_out(&format!("deployment/{name}"))
    }

    pub(super) fn rolled_out(&self, what: &str) -> Result<()> {
        self.world.rolled_out(self.name, what)
    }

    /// Waits for a condition of an object, as `kubectl wait` does.
    pub(super) fn wait(&self, what: &str, condition: &str) -> Result<()> {
        let (space, condition) = (
            format!("--namespace={}", self.name),
            format!("--for={condition}"),
        );
        let wait = ["wait", what, &space, &condition, "--timeout=120s"];
        self.world
            .kubectl
            .patient(&wait)
            .map(drop)
            .with_context(|| self.world.state(self.name))
    }

    /// Runs a command in a pod (or in one of `deployment/NAME`).
    pub(super) fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let space = format!("--namespace={}", self.name);
        let words = [&["exec", pod, &space, "--"], command].concat();
        Ok(self.world.kubectl.patient(&words)?.trim().to_owned())
    }

    /// What a URL answers a pod.
    pub(super) fn fetch(&self, pod: &str, url: &str) -> Result<String> {
        self.exec(pod, &["curl", "-sSf", "--max-time", "5", url])
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let space = format!("--namespace={}", self.name);
        self.world.kubectl.run(&[arguments, &[&space]].concat())
    }

    pub(super) fn value(&self, what: &str, path: &str) -> Result<String> {
        self.world.value(self.name, what, path)
    }

    /// Pods that a label selects.
    pub(super) fn pods(&self, selector: &str) -> Result<Vec<Value>> {
        let text = self.kubectl(&["get", "pods", "--selector", selector, "-o=json"])?;
        let mut list: Value = serde_json::from_str(&text)?;
        Ok(list["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default())
    }

    /// Asks until the answer is yes.
    pub(super) fn until(&self, what: &str, question: impl FnMut() -> Result<bool>) -> Result<()> {
        wait::until(what, LIMIT, &[], question).with_context(|| self.world.state(self.name))
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "namespace", self.name, "--wait=false"];
        if let Err(error) = self.world.kubectl.run(&delete) {
            eprintln!("cannot delete namespace {}: {error:#}", self.name);
        }
    }
}
