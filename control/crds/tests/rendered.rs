//! The committed CustomResourceDefinitions are those that the types render.

use std::path::PathBuf;

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
