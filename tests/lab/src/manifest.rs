//! Kubernetes manifests: reading them, and the few fields that the lab needs of any object.

use std::fmt;

use serde_json::{Map, Value};

mod read;

pub use read::{Bad, Leftover, Manifests};

/// Kinds that live outside every namespace.
const CLUSTER_SCOPED: [&str; 9] = [
    "Namespace",
    "Node",
    "GatewayClass",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "PersistentVolume",
    "PriorityClass",
    "StorageClass",
];

/// What names an object: group and kind, namespace (empty when cluster-scoped), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind, such as `Pod`.
    pub kind: String,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// Key of an object of the core group.
    pub fn core(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            group: String::new(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Key of `object`, as [`Manifests`] gives it.
    pub fn of(object: &Value) -> Self {
        let version = text(object, "/apiVersion");
        let group = version.split_once('/').map_or("", |(g, _)| g);
        Self {
            group: group.into(),
            kind: text(object, "/kind").into(),
            namespace: text(object, "/metadata/namespace").into(),
            name: text(object, "/metadata/name").into(),
        }
    }

    /// Name of the object's file in the API directory.
    pub fn file_name(&self) -> String {
        let kind = self.kind.to_lowercase();
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.group)
        };
        format!("{kind}{group}_{}_{}.yaml", self.namespace, self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_lowercase();
        if self.namespace.is_empty() {
            return write!(f, "{kind}/{}", self.name);
        }
        write!(f, "{kind}/{} in {}", self.name, self.namespace)
    }
}

/// The string at a JSON pointer, or `""`.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// Order in which objects are applied: what others refer to comes first.
pub fn rank(object: &Value) -> u8 {
    match text(object, "/kind") {
        "Namespace" => 0,
        "Node" => 1,
        "CustomResourceDefinition" => 2,
        "ServiceAccount" | "ConfigMap" | "Secret" => 3,
        "Service" => 4,
        "Pod" | "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => 9,
        _ => 6,
    }
}

/// Labels of `object` as a map of JSON strings.
pub fn labels(object: &Value) -> Map<String, Value> {
    object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// Whether every entry of `selector` is among `labels`. An empty selector selects nothing.
pub fn selects(selector: Option<&Value>, labels: &Map<String, Value>) -> bool {
    let Some(selector) = selector.and_then(Value::as_object) else {
        return false;
    };
    !selector.is_empty() && selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn file_names_are_unambiguous() {
        let object = json!({"apiVersion": "warren.dev/v1alpha1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "deny", "namespace": "shop"}});
        assert_eq!(
            Key::of(&object).file_name(),
            "authorizationpolicy.warren.dev_shop_deny.yaml"
        );
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let labels = labels(&json!({"metadata": {"labels": {"app": "web"}}}));
        assert!(selects(Some(&json!({"app": "web"})), &labels));
        assert!(!selects(Some(&json!({"app": "db"})), &labels));
        assert!(!selects(Some(&json!({})), &labels));
        assert!(!selects(None, &labels));
    }
}
