//! `RUN/cni.sock`: one JSON line asks, one answers. The CNI plugin and the lab speak it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod server;

pub use server::serve;

/// Label by which a namespace or pod asks for the mesh.
const MESH_LABEL: &str = "warren.dev/mesh";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A pod comes; the answer waits until it is in the mesh, or known to stay out.
    Add,
    /// A pod goes; always succeeds.
    Del,
    /// Is the pod as it should be?
    Check,
}

/// One question.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    /// What is asked.
    pub op: Op,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// The Kubernetes UID; may be empty.
    #[serde(default)]
    pub uid: String,
    /// Path of the pod's network namespace.
    #[serde(default)]
    pub netns: PathBuf,
    /// The pod's addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The pod's labels, where the asker knows them.
    #[serde(default)]
    pub pod_labels: Option<BTreeMap<String, String>>,
    /// The namespace's labels, where the asker knows them.
    #[serde(default)]
    pub namespace_labels: Option<BTreeMap<String, String>>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// Whether the pod is in the mesh now.
    pub enrolled: bool,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Answer {
    /// Done.
    pub fn done(enrolled: bool) -> Self {
        Self {
            ok: true,
            enrolled,
            error: None,
        }
    }

    /// Not done.
    pub fn failed(error: impl Into<String>) -> Self {
        Self {
            ok: false,
            enrolled: false,
            error: Some(error.into()),
        }
    }
}

/// What labels say of the mesh. Another value than the two says nothing, as for the controller.
pub fn asked(labels: &BTreeMap<String, String>) -> Option<bool> {
    match labels.get(MESH_LABEL)?.as_str() {
        "enabled" => Some(true),
        "disabled" => Some(false),
        _ => None,
    }
}

impl Request {
    /// Whether the labels ask for the mesh; None where the request has none. A pod's own label goes before its namespace's.
    pub fn labelled(&self) -> Option<bool> {
        let wants = |labels: &Option<BTreeMap<String, String>>| labels.as_ref().and_then(asked);
        let known = self.pod_labels.is_some() && self.namespace_labels.is_some();
        wants(&self.pod_labels)
            .or_else(|| wants(&self.namespace_labels))
            .or(known.then_some(false))
    }

    /// What is wrong with it, if anything is.
    pub fn problem(&self) -> Option<&'static str> {
        let bad = |s: &str| s.is_empty() || s.len() > 253 || s.contains(['/', '\0', '\n']);
        if bad(&self.namespace) || bad(&self.name) {
            return Some(
                "`namespace` and `name` must be the names of a Kubernetes namespace and pod",
            );
        }
        if self.op == Op::Add && !self.netns.is_absolute() {
            return Some("`netns` must be the absolute path of the pod's network namespace");
        }
        if self.op == Op::Add && self.addresses.is_empty() {
            return Some("`addresses` must list the pod's addresses");
        }
        if self.addresses.len() > 2 {
            return Some("`addresses` must have at most one address a family");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> Request {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_pods_label_goes_before_the_namespaces() {
        let base = r#""op":"add","namespace":"shop","name":"web""#;
        let with = |labels: &str| request(&format!("{{{base}{labels}}}")).labelled();
        assert_eq!(with(""), None);
        assert_eq!(
            with(r#","pod_labels":{},"namespace_labels":{}"#),
            Some(false)
        );
        let on = r#""warren.dev/mesh":"enabled""#;
        let off = r#""warren.dev/mesh":"disabled""#;
        assert_eq!(
            with(&format!(
                r#","pod_labels":{{}},"namespace_labels":{{{on}}}"#
            )),
            Some(true)
        );
        assert_eq!(
            with(&format!(
                r#","pod_labels":{{{off}}},"namespace_labels":{{{on}}}"#
            )),
            Some(false)
        );
        assert_eq!(
            with(&format!(
                r#","pod_labels":{{{on}}},"namespace_labels":{{}}"#
            )),
            Some(true)
        );
        let neither = r#""warren.dev/mesh":"yes""#;
        assert_eq!(
            with(&format!(
                r#","pod_labels":{{{neither}}},"namespace_labels":{{{on}}}"#
            )),
            Some(true),
            "a value that means nothing opens nothing"
        );
    }

    #[test]
    fn requests_without_what_they_need_are_refused() {
        let add =
            r#"{"op":"add","namespace":"shop","name":"web","netns":"/n","addresses":["10.0.0.1"]}"#;
        assert_eq!(request(add).problem(), None);
        for (from, to) in [
            ("\"/n\"", "\"n\""),
            ("\"10.0.0.1\"", ""),
            ("shop", "a/b"),
            ("web", ""),
        ] {
            assert!(request(&add.replace(from, to)).problem().is_some(), "{to}");
        }
    }
}
