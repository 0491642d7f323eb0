//! Kubernetes manifests: reading many-document YAML, and the few fields that the lab needs of any object.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

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

    /// Key of `object`, which [`check`] accepted.
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

/// Objects of a many-document YAML text; `kind: List` is unfolded. `origin` names the text in errors.
pub fn parse(yaml: &str, origin: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).with_context(|| format!("{origin}: not valid YAML"))?;
    let mut objects = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        if text(&document, "/kind").ends_with("List")
            && let Some(items) = document.get("items").and_then(Value::as_array)
        {
            objects.extend(items.iter().cloned());
            continue;
        }
        check(&document).with_context(|| format!("{origin}: document {}", index + 1))?;
        objects.push(document);
    }
    for object in &mut objects {
        default_namespace(object);
    }
    Ok(objects)
}

/// Objects of a file, of every `.yaml`/`.yml`/`.json` file below a directory, or of standard input (`-`).
pub fn read(path: &Path) -> Result<Vec<Value>> {
    if path == Path::new("-") {
        let text =
            std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?;
        return parse(&text, "standard input");
    }
    let mut objects = Vec::new();
    for file in files(path)? {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        objects.extend(parse(&text, &file.display().to_string())?);
    }
    Ok(objects)
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

fn check(object: &Value) -> Result<()> {
    if !object.is_object() {
        bail!("a Kubernetes object is a mapping with apiVersion, kind and metadata");
    }
    for pointer in ["/apiVersion", "/kind", "/metadata/name"] {
        if text(object, pointer).is_empty() {
            bail!(
                "{} is missing or not a string",
                &pointer[1..].replace('/', ".")
            );
        }
    }
    let name = text(object, "/metadata/name");
    let fine = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    // Roles and their bindings may use any path segment as a name.
    if !(fine || (text(object, "/kind").contains("Role") && !name.contains('/'))) {
        bail!(
            "metadata.name {name:?} is not a DNS name: use lower case letters, digits, '-' and '.'"
        );
    }
    Ok(())
}

fn default_namespace(object: &mut Value) {
    let cluster = CLUSTER_SCOPED.contains(&text(object, "/kind"));
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if cluster {
        metadata.remove("namespace");
    } else {
        metadata.entry("namespace").or_insert(json!("default"));
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let meta =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut entries: Vec<_> = std::fs::read_dir(path)?
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    for entry in entries {
        let extension = entry.extension().and_then(|e| e.to_str()).unwrap_or("");
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if matches!(extension, "yaml" | "yml" | "json") {
            found.push(entry);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_many_documents_and_lists() {
        let yaml = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}}\n- {apiVersion: v1, kind: Pod, metadata: {name: other}}\n";
        let objects = parse(yaml, "test").unwrap();
        let keys: Vec<String> = objects.iter().map(|o| Key::of(o).to_string()).collect();
        assert_eq!(
            keys,
            ["namespace/shop", "pod/web in shop", "pod/other in default"]
        );
    }

    #[test]
    fn errors_name_the_document_and_the_field() {
        let error = parse("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "a.yaml").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "a.yaml: document 1: metadata.name is missing or not a string"
        );
        assert!(parse("a: [", "b.yaml").is_err());
        assert!(
            parse(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}\n",
                "c.yaml"
            )
            .is_err()
        );
    }

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
