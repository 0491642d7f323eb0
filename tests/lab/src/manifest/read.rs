//! Files of many documents: the good ones as objects, the bad ones with file, line and reason.
//!
//! ```text
//! text --parts--> documents --read, check--> objects, each with its origin
//!                     `----> Bad, and the text of what is bad at its own lines (`Leftover`)
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warren_control::model::labels::ORIGIN;
use warren_control::source::dir::document::{Malformed, Part, parts, read as parse_document};

use super::{CLUSTER_SCOPED, Key, text};

/// The kinds of the API versions that the lab knows all of.
const KINDS: [(&str, &[&str]); 2] = [
    (
        "v1",
        &[
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    (
        "apps/v1",
        &[
            "ControllerRevision",
            "DaemonSet",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
        ],
    ),
];

/// What manifests hold.
#[derive(Debug, Default)]
pub struct Manifests {
    /// Objects, each annotated with the file and line where it stands.
    pub objects: Vec<Value>,
    /// Documents that are none.
    pub bad: Vec<Bad>,
    /// The bad documents of each file, for the controller to report as well.
    pub leftovers: Vec<Leftover>,
}

/// A document, or an item of a List, that is no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// File and line, from 1.
    pub origin: String,
    /// The object, as far as it could be told.
    pub object: Option<String>,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// What is bad of one file, on the lines where it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The file as the person named it.
    pub file: String,
    /// The text; none where all of the file is good.
    pub text: Option<String>,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl Manifests {
    /// Every document of a file, of every `.yaml`/`.yml`/`.json` file below a directory, or of standard input (`-`).
    ///
    /// # Errors
    /// A file cannot be read, or there is none.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        for path in paths {
            if path == Path::new("-") {
                let text = std::io::read_to_string(std::io::stdin())
                    .context("cannot read standard input")?;
                all.add("stdin", &text);
                // The controller would report it until nobody knows what it was.
                all.leftovers.pop();
                continue;
            }
            let found = files(path)?;
            if found.is_empty() {
                bail!("{} holds no .yaml, .yml or .json file", path.display());
            }
            for file in found {
                let bytes = std::fs::read(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                all.add(
                    &file.display().to_string(),
                    &String::from_utf8_lossy(&bytes),
                );
            }
        }
        Ok(all)
    }

    /// The documents of one text.
    pub fn parse(file: &str, text: &str) -> Self {
        let mut all = Self::default();
        all.add(file, text);
        all
    }

    /// The objects, if nothing is bad.
    ///
    /// # Errors
    /// Names every bad document.
    pub fn all_good(self) -> Result<Vec<Value>> {
        if self.bad.is_empty() {
            return Ok(self.objects);
        }
        let lines: Vec<String> = self.bad.iter().map(Bad::to_string).collect();
        bail!("{}", lines.join("\n"))
    }

    fn add(&mut self, file: &str, text: &str) {
        let json = Path::new(file).extension().is_some_and(|e| e == "json");
        let mut bad_parts = Vec::new();
        for part in parts(text, json) {
            let before = self.bad.len();
            match parse_document(part.text, json) {
                Ok(values) => {
                    for value in values {
                        self.object(file, part.line, value);
                    }
                }
                Err(Malformed { line, reason }) => self.bad.push(Bad {
                    origin: format!("{file}:{}", part.line + line - 1),
                    object: None,
                    reason: format!(
                        "malformed document: {reason}; correct it, the other documents are in force"
                    ),
                }),
            }
            if self.bad.len() > before {
                bad_parts.push(part);
            }
        }
        self.leftovers.push(Leftover {
            file: file.to_owned(),
            text: (!bad_parts.is_empty()).then(|| leftover(text, &bad_parts)),
        });
    }

    fn object(&mut self, file: &str, line: u32, mut object: Value) {
        let origin = format!("{file}:{line}");
        if let Err(error) = check(&object) {
            self.bad.push(Bad {
                origin,
                object: name(&object),
                reason: format!("{error:#}"),
            });
            return;
        }
        default_namespace(&mut object);
        let annotations = &mut object["metadata"]["annotations"];
        if annotations.is_null() {
            *annotations = json!({});
        }
        if let Some(map) = annotations.as_object_mut() {
            map.entry(ORIGIN).or_insert(json!(origin));
        }
        self.objects.push(object);
    }
}

/// The lines of `bad` in their places, and every document marker, so that what is left has the same lines and parts.
fn leftover(text: &str, bad: &[Part<'_>]) -> String {
    let kept = |number: usize| {
        bad.iter().any(|part| {
            let first = part.line as usize;
            (first..first + part.text.lines().count()).contains(&number)
        })
    };
    let mut left = String::new();
    for (index, line) in text.lines().enumerate() {
        if kept(index + 1) {
            left.push_str(line);
        } else if line.starts_with("---") || line.starts_with("...") {
            left.push_str(&line[..3]);
        }
        left.push('\n');
    }
    left
}

/// `kind/name`, where there is that much.
fn name(object: &Value) -> Option<String> {
    let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
    match (kind.is_empty(), name.is_empty()) {
        (true, true) => None,
        (true, false) => Some(name.to_owned()),
        (false, true) => Some(kind.to_lowercase()),
        (false, false) => Some(Key::of(object).to_string()),
    }
}

fn check(object: &Value) -> Result<()> {
    if !object.is_object() {
        bail!("a Kubernetes object is a mapping with apiVersion, kind and metadata: write one");
    }
    for pointer in ["/apiVersion", "/kind", "/metadata/name"] {
        if text(object, pointer).is_empty() {
            let field = pointer[1..].replace('/', ".");
            bail!("{field} is missing or not a string: add it");
        }
    }
    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let known = KINDS.iter().find(|(v, _)| *v == version);
    if known.is_some_and(|(_, kinds)| !kinds.contains(&kind)) {
        bail!("{version} has no kind {kind}: check the spelling of both");
    }
    for pointer in ["/metadata/annotations", "/metadata/labels"] {
        if object
            .pointer(pointer)
            .is_some_and(|v| !v.is_object() && !v.is_null())
        {
            let field = pointer[1..].replace('/', ".");
            bail!("{field} is not a mapping: write `key: value` below it");
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
    let mut entries: Vec<_> = std::fs::read_dir(path)
        .with_context(|| format!("cannot list {}", path.display()))?
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
mod tests;
