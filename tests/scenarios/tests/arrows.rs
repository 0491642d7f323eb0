//! Which crate may depend on which: read off `cargo metadata`, through every path of normal dependencies.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use serde_json::Value;

/// (from, never reaches).
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("warren-core", &["tokio", "kube", "aya", "prost", "hyper"]),
    ("warren-ztunnel", &["aya", "kube", "warren-agent"]),
    ("warren-waypoint", &["aya", "kube"]),
    ("warren-control", &["aya"]),
    ("warren-agent", &["warren-ztunnel", "warren-hbone"]),
    (
        "warren-api",
        &[
            "warren-agent",
            "warren-ztunnel",
            "warren-control",
            "aya",
            "kube",
        ],
    ),
    ("warren-hbone", &["warren-api", "aya", "kube"]),
    ("warren-images", &["tokio", "warren-cluster"]),
    (
        "warren-cluster",
        &[
            "warren-agent",
            "warren-ztunnel",
            "warren-control",
            "warren-lab",
        ],
    ),
    (
        "warren-interop",
        &[
            "warren-hbone",
            "warren-api",
            "warren-core",
            "h2",
            "hyper",
            "prost",
            "tonic",
        ],
    ),
];

struct Graph {
    names: HashMap<String, String>,
    edges: HashMap<String, Vec<String>>,
}

impl Graph {
    fn load() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--offline"])
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value =
            serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let names = list(&metadata["packages"])
            .iter()
            .map(|p| (text(&p["id"]), text(&p["name"])))
            .collect();
        let normal = |dep: &Value| {
            list(&dep["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null())
        };
        let edges = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|n| {
                (
                    text(&n["id"]),
                    list(&n["deps"])
                        .iter()
                        .filter(|d| normal(d))
                        .map(|d| text(&d["pkg"]))
                        .collect(),
                )
            })
            .collect();
        Self { names, edges }
    }

    fn reached(&self, from: &str) -> HashSet<&str> {
        let start = self
            .names
            .iter()
            .find(|(_, name)| *name == from)
            .map(|(id, _)| id);
        let mut queue: Vec<&String> = start.into_iter().collect();
        assert!(!queue.is_empty(), "there is no crate {from}");
        let mut seen = HashSet::new();
        while let Some(id) = queue.pop() {
            queue.extend(
                self.edges[id]
                    .iter()
                    .filter(|next| seen.insert(self.names[*next].as_str())),
            );
        }
        seen
    }
}

#[test]
fn no_forbidden_arrow() {
    let graph = Graph::load();
    for (from, never) in FORBIDDEN {
        let reached = graph.reached(from);
        for to in *never {
            assert!(
                !reached.contains(to),
                "{from} depends on {to}: see the arrows in ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn the_reader_sees_real_arrows() {
    let graph = Graph::load();
    assert!(
        graph.reached("warren-agent").contains("aya"),
        "the graph misses an arrow that is there"
    );
    assert!(
        graph.reached("warren-control").contains("warren-core"),
        "the graph misses an arrow that is there"
    );
}
