//! The committed manifests are what the charts render, so that a change of a chart shows in review as what it changes on a cluster.

use std::fs;

use crate::support::{deploy, warren};

/// Sets of settings: without a file, the defaults.
const SETS: [&str; 2] = ["default", "everything"];

/// With `WARREN_UPDATE_GENERATED=1` the files are written first.
#[test]
#[ignore = "needs the test cluster's programs"]
fn committed_manifests_are_up_to_date() {
    for set in SETS {
        let folder = deploy().join("golden");
        let values = folder.join(format!("{set}.values.yaml"));
        let mut words = vec!["render"];
        if values.exists() {
            words.extend(["--values", values.to_str().expect("UTF-8")]);
        }
        let text = warren(&words).ok().out;
        // The kinds of objects are compared with their types elsewhere, and dashboards are files already.
        let mesh: Vec<&str> = text
            .split("---\n")
            .filter(|d| !d.contains("kind: CustomResourceDefinition"))
            .filter(|d| !d.contains("grafana_dashboard: "))
            .collect();
        let mesh = mesh.join("---\n");
        let path = folder.join(format!("{set}.yaml"));
        if std::env::var_os("WARREN_UPDATE_GENERATED").is_some() {
            fs::write(&path, &mesh).expect("file");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let differs = committed.lines().zip(mesh.lines()).find(|(a, b)| a != b);
        assert!(
            committed == mesh,
            "deploy/golden/{set}.yaml is stale ({differs:?}): run `cargo xtask generate` and commit the result"
        );
    }
}
