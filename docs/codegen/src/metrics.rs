//! Metrics, from what the components register: a sample of each family is made, encoded as for a scrape, and read again.

use std::sync::Arc;

use anyhow::ensure;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use warren_admin::access::{Traffic, TrafficLabels};
use warren_admin::types::MapView;
use warren_agent::accounting::MapCollector;
use warren_agent::bpf::observe::{COUNTER_NAMES, meaning};
use warren_control::model::Kind;
use warren_control::xds::Type;

use crate::markdown::{code, table};

const HEAD: &str = "# Metrics

Prometheus metrics, at `/metrics`: of the controller on port 15014, of the tunnel on 15020, of the agent on the chart's `agent.metricsPort`
(15030 on the node's own address). `podMonitor.enabled=true` makes the Prometheus operator's PodMonitor for all three.

A counter's name ends in `_total`; a histogram has `_bucket`, `_sum` and `_count`.

## Labels of connections

Connections have the same names and labels whether a tunnel carried them or the kernel did, so that queries need not know which. Each one is reported once
by each end that is in the mesh. What is not known is `unknown`.

";

/// The labels of a connection's metrics, in the order in which they are encoded, and what they say.
const CONNECTION: [(&str, &str); 11] = [
    ("reporter", "Which end reports: `source` or `destination`."),
    (
        "source_workload",
        "The client's Deployment, Job or whatever else made its pod; the pod where nothing did.",
    ),
    ("source_namespace", "The client's namespace."),
    (
        "source_principal",
        "The client's identity, where it was verified.",
    ),
    ("destination_workload", "The same of the server."),
    ("destination_namespace", "The server's namespace."),
    ("destination_principal", "The server's identity."),
    (
        "destination_service",
        "The host name of the Service that was asked for, where it is known.",
    ),
    (
        "security_policy",
        "`mutual_tls`, `kernel` (a direct flow, or a pod that calls itself) or `none`.",
    ),
    (
        "verdict",
        "`allow`, `deny`, or `remote` where the other end's tunnel decides.",
    ),
    (
        "response_flags",
        "How the connection ended ([all of them](../troubleshooting.md#response-flags)); `-` while it lives, and where it ended well.",
    ),
];

/// One metric.
#[derive(Debug)]
struct Metric {
    name: String,
    kind: String,
    labels: Vec<String>,
    help: String,
}

/// The page.
///
/// # Errors
/// A component registers a family of which no sample was made here.
pub fn page() -> anyhow::Result<String> {
    let mut out = HEAD.to_owned();
    let labels = CONNECTION.map(|(name, meaning)| vec![code(name), meaning.to_owned()]);
    out += &table(&["Label", "Meaning"], &labels);
    for (title, registry) in [
        ("Tunnel (`warren-ztunnel`)", tunnel()),
        ("Agent (`warren-agent`)", agent()),
        ("Controller (`warren-control`)", controller()),
    ] {
        let metrics = scrape(&registry)?;
        let registered = format!("{registry:?}").matches("Descriptor {").count();
        let shown = metrics.iter().filter(|m| !is_collected(&m.name)).count();
        ensure!(
            registered == shown,
            "{title}: {registered} metrics are registered, {shown} were shown: make a sample of the others"
        );
        let rows: Vec<_> = metrics.iter().map(row).collect();
        out += &format!("## {title}\n\n");
        out += &table(&["Name", "Type", "Labels", "Meaning"], &rows);
    }
    Ok(out + &events())
}

/// By a collector, which registers no descriptor.
fn is_collected(name: &str) -> bool {
    name.starts_with("process_")
        || name.starts_with("warren_bpf_map")
        || name == "warren_bpf_events_total"
}

fn tunnel() -> Arc<Registry> {
    let mut registry = Registry::default();
    warren_admin::process::register(&mut registry);
    let metrics = warren_ztunnel::record::Metrics::new(&mut registry);
    sample(&metrics.traffic);
    metrics.handshake_failed("sample");
    Arc::new(registry)
}

fn agent() -> Arc<Registry> {
    let mut registry = Registry::default();
    warren_admin::process::register(&mut registry);
    let metrics = warren_agent::accounting::Metrics::new(&mut registry);
    sample(&metrics.traffic);
    registry.register_collector(Box::new(MapCollector::new(|| {
        let map = MapView {
            name: "sample".into(),
            kind: "hash".into(),
            entries: Some(0),
            max_entries: 1,
            key_size: 0,
            value_size: 0,
            pin: String::new(),
        };
        (vec![map], vec![0; COUNTER_NAMES.len()])
    })));
    Arc::new(registry)
}

fn controller() -> Arc<Registry> {
    let (metrics, registry) = warren_control::metrics::Metrics::new();
    metrics.pushed(Some(Type::Address), 0, 0, std::time::Duration::ZERO);
    metrics.sizes((0, 0, 0));
    metrics.list(Kind::Pod);
    metrics.watch_failed(Kind::Pod);
    metrics.written(Kind::Pod);
    metrics.write_failed(Kind::Pod);
    metrics.reviewed("allowed");
    metrics.refuse("sample");
    registry
}

fn sample(traffic: &Traffic) {
    let labels = TrafficLabels::default();
    for family in [
        &traffic.opened,
        &traffic.closed,
        &traffic.sent,
        &traffic.received,
    ] {
        drop(family.get_or_create(&labels));
    }
    traffic.duration.get_or_create(&labels).observe(0.0);
}

/// Encodes and reads: `# HELP`, `# TYPE`, then at least one sample.
fn scrape(registry: &Registry) -> anyhow::Result<Vec<Metric>> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    let mut metrics: Vec<Metric> = Vec::new();
    let mut help = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, h)| h).to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            let end = if kind == "counter" { "_total" } else { "" };
            metrics.push(Metric {
                name: format!("{name}{end}"),
                kind: kind.to_owned(),
                labels: Vec::new(),
                help: help.clone(),
            });
        } else if let Some(last) = metrics.last_mut().filter(|m| m.labels.is_empty()) {
            last.labels = labels(line);
        }
    }
    Ok(metrics)
}

/// The names of a sample's labels. No value of a sample here holds a comma or a quote.
fn labels(sample: &str) -> Vec<String> {
    let inside = sample
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    let pairs = inside.map_or("", |(inside, _)| inside).split(',');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name != "le")
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn row(m: &Metric) -> Vec<String> {
    let labels: Vec<String> = if m.labels == connection_labels() {
        vec!["[those of connections](#labels-of-connections)".to_owned()]
    } else {
        m.labels.iter().map(|l| code(l)).collect()
    };
    let help = m.help.trim_end_matches('.');
    vec![
        code(&m.name),
        m.kind.clone(),
        labels.join(", "),
        format!("{help}."),
    ]
}

/// In the order in which they are encoded.
fn connection_labels() -> Vec<&'static str> {
    CONNECTION.iter().map(|(name, _)| *name).collect()
}

fn events() -> String {
    let rows: Vec<_> = COUNTER_NAMES
        .iter()
        .map(|(counter, name)| vec![code(name), format!("{}.", meaning(*counter))])
        .collect();
    let head = "### `event` of `warren_bpf_events_total`\n\n";
    head.to_owned() + &table(&["Event", "Meaning"], &rows)
}
