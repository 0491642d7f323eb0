//! Custom resources, from their CustomResourceDefinitions. What the values of an enumeration mean comes from the types' own JSON schema:
//! a structural schema has no room for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;
use warren_crds::{AuthorizationPolicySpec, PeerAuthenticationSpec};

use crate::markdown::{code, table};

/// Values of an enumeration and what they mean.
type Meanings = BTreeMap<String, Vec<(String, String)>>;

/// The page of each kind, with the examples in `examples` that are of it.
///
/// # Errors
/// An example cannot be read.
pub fn pages(examples: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut meanings = meanings::<AuthorizationPolicySpec>();
    meanings.append(&mut meanings_of_peer());
    let mut pages = Vec::new();
    for crd in warren_crds::render::definitions() {
        let crd = serde_json::to_value(crd)?;
        let kind = text(&crd, "/spec/names/kind");
        let examples = examples_of(examples, &kind)?;
        pages.push((kind.to_lowercase(), page(&crd, &kind, &meanings, &examples)));
    }
    Ok(pages)
}

fn meanings_of_peer() -> Meanings {
    meanings::<PeerAuthenticationSpec>()
}

fn page(crd: &Value, kind: &str, meanings: &Meanings, examples: &str) -> String {
    let version = crd.pointer("/spec/versions/0").unwrap_or(&Value::Null);
    let spec = version.pointer("/schema/openAPIV3Schema/properties/spec");
    let spec = spec.unwrap_or(&Value::Null);
    let (group, name) = (text(crd, "/spec/group"), text(version, "/name"));
    let short = text(crd, "/spec/names/shortNames/0");
    let plural = text(crd, "/spec/names/plural");
    let mut rows = Vec::new();
    let mut found = Vec::new();
    fields("spec", spec, meanings, &mut rows, &mut found);
    let mut out = format!(
        "# {kind}\n\n`apiVersion: {group}/{name}`, namespaced; `kubectl get {plural}`, or `{short}`.\n\n{}\n\n",
        text(spec, "/description")
    );
    out += UNKNOWN;
    out += &table(&["Field", "Type", "Default", "Meaning"], &rows);
    for (path, values) in found {
        let rows: Vec<_> = values
            .iter()
            .map(|(v, m)| vec![code(v), m.clone()])
            .collect();
        out += &format!("### Values of `{path}`\n\n");
        out += &table(&["Value", "Meaning"], &rows);
    }
    out + STATUS + examples
}

const UNKNOWN: &str = "## Fields

An unknown field makes the object invalid. The webhook refuses it and names the field (`kubectl` by itself does not complain, whatever
`--validate` says: the API server keeps such fields so that they can be seen). Where the webhook is away the condition below says so, and
for a directory of manifests `warren status`; the object then counts as one that cannot be read.

";

const STATUS: &str = "## Status

The controller writes the condition `Accepted`:

| Status | Reason | Meaning |
| --- | --- | --- |
| `True` | `Accepted` | In force as written. |
| `True` | `PartlyInEffect` | In force, but for what the message names. |
| `False` | `Invalid` | It cannot be read; the message says why, and what is in force instead: a good version that was there before, until the controller restarts; else something that [closes](../concepts.md#the-order-in-which-policies-decide) whom it names, or nothing. |

The same is in `warren status` and in the controller's log.

";

/// One row a field, in order of name, and the enumerations among them.
fn fields<'m>(
    path: &str,
    schema: &Value,
    meanings: &'m Meanings,
    rows: &mut Vec<Vec<String>>,
    found: &mut Vec<(String, &'m [(String, String)])>,
) {
    let below = [
        ("", ""),
        ("/items", "[]"),
        ("/additionalProperties", ".KEY"),
    ];
    for (pointer, mark) in below {
        let properties = schema.pointer(&format!("{pointer}/properties"));
        let required = schema.pointer(&format!("{pointer}/required"));
        for (name, field) in properties.and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}{mark}.{name}");
            let needed = required
                .and_then(Value::as_array)
                .is_some_and(|all| all.iter().any(|r| r == name));
            let mut meaning = text(field, "/description");
            if needed {
                meaning += " Required.";
            }
            let default = field.get("default").filter(|d| !is_empty(d));
            let default = default.map(|d| d.as_str().map_or_else(|| d.to_string(), str::to_owned));
            rows.push(vec![
                code(&path),
                kind_of(field),
                code(&default.unwrap_or_default()),
                meaning,
            ]);
            let known = meanings.get(&values(field).join(" "));
            if let Some(known) = known.filter(|k| found.iter().all(|(_, f)| f != k)) {
                found.push((path.clone(), known));
            }
            fields(&path, field, meanings, rows, found);
        }
    }
}

fn is_empty(default: &Value) -> bool {
    default.as_array().is_some_and(Vec::is_empty)
        || default.as_object().is_some_and(|o| o.is_empty())
        || default == ""
}

fn kind_of(field: &Value) -> String {
    if field.get("x-kubernetes-int-or-string").is_some() {
        return "integer or string".to_owned();
    }
    let all = values(field);
    if !all.is_empty() {
        let all: Vec<String> = all.iter().map(|v| code(v)).collect();
        return all.join(", ");
    }
    match text(field, "/type").as_str() {
        "array" => format!(
            "list of {}",
            field.get("items").map(kind_of).unwrap_or_default()
        ),
        "object" => match field.get("additionalProperties") {
            Some(of) => format!("map of {}", kind_of(of)),
            None => "object".to_owned(),
        },
        other => other.to_owned(),
    }
}

fn values(field: &Value) -> Vec<String> {
    let all = field.get("enum").and_then(Value::as_array);
    let all = all.into_iter().flatten().filter_map(Value::as_str);
    all.map(str::to_owned).collect()
}

/// The enumerations that `T` uses, by their values.
fn meanings<T: JsonSchema>() -> Meanings {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    let schema = schema.as_value();
    let definitions = schema.get("$defs").and_then(Value::as_object);
    let variants = |d: &Value| -> Vec<(String, String)> {
        let all = d.get("oneOf").and_then(Value::as_array);
        let all = all.into_iter().flatten();
        all.map(|v| (text(v, "/const"), text(v, "/description")))
            .collect()
    };
    let all = definitions.into_iter().flatten().map(|(_, d)| variants(d));
    all.filter(|v| !v.is_empty())
        .map(|v| {
            let names: Vec<&str> = v.iter().map(|(name, _)| name.as_str()).collect();
            (names.join(" "), v)
        })
        .collect()
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// The files in `dir` that hold an object of `kind`.
fn examples_of(dir: &Path, kind: &str) -> anyhow::Result<String> {
    let mut out = String::new();
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut paths = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if text.lines().any(|l| l == format!("kind: {kind}")) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            out += &format!(
                "[{name}](../examples/policies/{name}):\n\n```yaml\n{}\n```\n\n",
                text.trim_end()
            );
        }
    }
    Ok(if out.is_empty() {
        out
    } else {
        format!("## Examples\n\n{out}")
    })
}
