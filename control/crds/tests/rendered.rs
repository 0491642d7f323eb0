//! The committed CustomResourceDefinitions are those that the types render.

use std::path::PathBuf;

use serde_json::Value;

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/charts/crds/templates")
}

/// With `WARREN_UPDATE_GENERATED=1` the files are written first.
#[test]
fn committed_files_are_up_to_date() {
    let dir = committed();
    let rendered = warren_crds::render().expect("the types render");
    if std::env::var_os("WARREN_UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(&dir).expect("directory");
        for (name, text) in &rendered {
            std::fs::write(dir.join(name), text).expect("file");
        }
    }
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .expect("deploy/charts/crds/templates exists")
        .map(|e| e.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        rendered.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>()
    );
    for (name, text) in rendered {
        let on_disk = std::fs::read_to_string(dir.join(&name)).expect("file");
        assert!(
            on_disk == text,
            "{name} is stale: run `WARREN_UPDATE_GENERATED=1 cargo test -p warren-crds` and commit the result"
        );
    }
}

#[test]
fn schemas_are_structural() {
    for crd in warren_crds::render::definitions() {
        let text = serde_json::to_string(&crd).expect("JSON");
        for forbidden in ["$ref", "patternProperties", "\"definitions\"", "\"$defs\""] {
            assert!(
                !text.contains(forbidden),
                "{:?} contains {forbidden}",
                crd.metadata.name
            );
        }
        assert!(text.contains("openAPIV3Schema"));
    }
}

/// Else the API server drops what it does not know before anybody could refuse it.
#[test]
fn unknown_fields_are_kept_everywhere_but_in_the_status() {
    const KEPT: &str = "x-kubernetes-preserve-unknown-fields";
    fn walk(path: &str, schema: &Value, marked: &mut Vec<String>) {
        let Some(parts) = schema.as_object() else {
            return;
        };
        let named = parts.get("properties").and_then(Value::as_object);
        let is_kept = parts.get(KEPT) == Some(&Value::Bool(true));
        let wanted = named.is_some() && !path.starts_with(".status");
        assert_eq!(is_kept, wanted, "{path}");
        if is_kept {
            marked.push(path.to_owned());
        }
        for (name, field) in named.into_iter().flatten() {
            walk(&format!("{path}.{name}"), field, marked);
        }
        for (part, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let Some(below) = parts.get(part) {
                walk(&format!("{path}{mark}"), below, marked);
            }
        }
    }
    let mut marked = Vec::new();
    for crd in warren_crds::render::definitions() {
        let crd = serde_json::to_value(crd).expect("JSON");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk("", schema, &mut marked);
    }
    for path in ["", ".spec.rules[].from[].source", ".spec.portLevelMtls{}"] {
        assert!(marked.iter().any(|m| m == path), "{path}: {marked:?}");
    }
}
