//! What the dashboards ask for is what the components export: every metric, and every label of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Labels that the PodMonitor gives every metric.
const TARGET: [&str; 5] = ["component", "namespace", "node", "pod", "container"];
/// Words of queries that are neither metric nor label.
const WORDS: &[&str] = &[
    "by",
    "histogram_quantile",
    "increase",
    "label_values",
    "le",
    "max",
    "min",
    "rate",
    "sum",
    "topk",
    "without",
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Every metric's labels, as the reference has them, which is generated from the components.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let path = deploy().join("../docs/reference/metrics.md");
    let text = fs::read_to_string(path).expect("the reference");
    let mut connection = BTreeSet::new();
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(name) = cells[0].strip_prefix('`').and_then(|n| n.strip_suffix('`')) else {
            continue;
        };
        let [_, kind, labels, _] = cells[..] else {
            // Two columns: a label of connections, until the first table of metrics.
            if metrics.is_empty() {
                connection.insert(name.to_owned());
            }
            continue;
        };
        let labels: BTreeSet<String> = match labels.contains("those of connections") {
            true => connection.clone(),
            false => labels
                .split(',')
                .map(|l| l.trim().trim_matches('`').to_owned())
                .collect(),
        };
        let parts: &[&str] = if kind == "histogram" {
            &["_bucket", "_sum", "_count"]
        } else {
            &[""]
        };
        for part in parts {
            metrics
                .entry(format!("{name}{part}"))
                .or_default()
                .extend(labels.clone());
        }
    }
    metrics
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = deploy().join("charts/mesh/dashboards");
    let mut all: Vec<(String, Value)> = fs::read_dir(folder)
        .expect("dashboards")
        .map(|entry| {
            let path = entry.expect("entry").path();
            let text = fs::read_to_string(&path).expect("file");
            let name = path
                .file_name()
                .expect("name")
                .to_string_lossy()
                .into_owned();
            (name, serde_json::from_str(&text).expect("JSON"))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Every query in a dashboard, of panels and of variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text)
                        if key == "expr" || (key == "query" && text != "prometheus") =>
                    {
                        found.push(text.clone())
                    }
                    other => queries(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

/// The names in a query: strings, variables, ranges and numbers are passed over.
fn names(query: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = query;
    while let Some(c) = rest.chars().next() {
        let end = |stop: fn(char) -> bool| rest[1..].find(stop).map_or(rest.len(), |at| at + 1);
        let taken = match c {
            '"' => rest[1..].find('"').map_or(rest.len(), |at| at + 2),
            '[' => rest.find(']').map_or(rest.len(), |at| at + 1),
            '$' | '0'..='9' => end(|c| !c.is_ascii_alphanumeric() && c != '_' && c != '.'),
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = end(|c| !c.is_ascii_alphanumeric() && c != '_');
                names.push(rest[..end].to_owned());
                end
            }
            _ => c.len_utf8(),
        };
        rest = &rest[taken..];
    }
    names.retain(|name| !WORDS.contains(&name.as_str()));
    names
}

/// What is wrong with a query.
fn judge(query: &str, exported: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let metric = |name: &String| name.starts_with("warren_") || name.starts_with("process_");
    let (metrics, labels): (Vec<String>, Vec<String>) = names(query).into_iter().partition(metric);
    let mut wrong: Vec<String> = metrics
        .iter()
        .filter(|m| !exported.contains_key(*m))
        .cloned()
        .collect();
    if metrics.is_empty() {
        wrong.push("no metric".to_owned());
    }
    for label in labels.iter().filter(|l| !TARGET.contains(&l.as_str())) {
        let without = metrics
            .iter()
            .filter(|m| exported.get(*m).is_some_and(|has| !has.contains(label)));
        wrong.extend(without.map(|metric| format!("{metric} has no {label}")));
    }
    wrong
}

#[test]
fn every_metric_and_label_exists() {
    let exported = exported();
    for (name, dashboard) in dashboards() {
        let mut all = Vec::new();
        queries(&dashboard, &mut all);
        assert!(all.len() > 10, "{name}");
        for query in all {
            assert_eq!(
                judge(&query, &exported),
                Vec::<String>::new(),
                "{name}: {query}"
            );
        }
    }
}

#[test]
fn mistakes_are_seen() {
    let exported = exported();
    for (query, wrong) in [
        ("sum(rate(warren_denial_total[5m]))", "warren_denial_total"),
        (
            "sum by (reasons) (warren_tls_handshake_failures_total)",
            "has no reasons",
        ),
        (r#"warren_pods{reason="x"}"#, "warren_pods has no reason"),
        (
            "sum(rate(warren_tcp_connection_duration_seconds[5m]))",
            "warren_tcp_connection_duration_seconds",
        ),
        ("vector(1)", "no metric"),
    ] {
        let found = judge(query, &exported);
        assert!(
            found.iter().any(|w| w.contains(wrong)),
            "{query}: {found:?}"
        );
    }
    let good = r#"sum by (le) (rate(warren_tcp_connection_duration_seconds_bucket{reporter="source"}[$__rate_interval])) > 0.5"#;
    assert_eq!(judge(good, &exported), Vec::<String>::new());
}

#[test]
fn dashboards_are_told_apart_and_choose_their_source() {
    let mut seen = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        for field in ["uid", "title", "description"] {
            let text = dashboard[field].as_str().unwrap_or_default();
            assert!(
                !text.is_empty() && seen.insert(text.to_owned()),
                "{name}: {field}"
            );
        }
        let variable = &dashboard["templating"]["list"][0];
        assert_eq!(
            (&variable["name"], &variable["type"]),
            (&"datasource".into(), &"datasource".into()),
            "{name}"
        );
        for panel in dashboard["panels"].as_array().expect("panels") {
            assert!(
                panel["title"].is_string() && panel["gridPos"]["w"].as_u64() <= Some(24),
                "{name}: {panel}"
            );
        }
    }
}
