//! `xds`: a delta xDS client that runs the steps of its command line.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::ads::Node;
use crate::ads::client::{Client, run as run_steps};
use crate::ads::step::Step;
use crate::dial::Controller;
use crate::report;

/// Options of `xds`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    controller: Controller,
    /// Name of the node that the tunnel stands for.
    #[arg(long)]
    node: String,
    /// Namespace of the tunnel's pod.
    #[arg(long, default_value = "warren-system")]
    namespace: String,
    /// Name of the tunnel's pod.
    #[arg(long, default_value = "warren-interop")]
    pod: String,
    /// Address of the tunnel's pod.
    #[arg(long, default_value = "127.0.0.1")]
    pod_ip: String,
    /// Print every response.
    #[arg(long)]
    verbose: bool,
    /// Outcome that must come: `ok` once every step held, else a gRPC status or what befell the connection.
    #[arg(long, default_values_t = ["ok".to_owned()])]
    expect: Vec<String>,
    /// Steps in their order: start, start-on-demand, synced, empty:TYPE, subscribe:TYPE:NAME, unsubscribe:TYPE:NAME,
    /// present:TYPE:NAME, removed:TYPE:NAME, absent:TYPE:NAME, version:TYPE:NAME, contains:TYPE:NAME=TEXT,
    /// any:TYPE:TEXT, none:TYPE,
    /// quiet:SECONDS, nack:TYPE, stale:TYPE:NAME, outdated:TYPE:NAME, stale-many:TYPE:N, unversioned:TYPE:NAME,
    /// reconnect, resent:TYPE:N, touch:FILE,
    /// wait-file:FILE; TYPE is address or authorization.
    #[arg(required = true)]
    steps: Vec<Step>,
}

/// Runs it.
pub async fn run(options: &Options) -> Result<bool> {
    let namespace = &options.namespace;
    let node = Node {
        id: format!(
            "ztunnel~{}~{}.{namespace}~{namespace}.svc.cluster.local",
            options.pod_ip, options.pod
        ),
        metadata: vec![
            ("NAME".into(), options.pod.clone()),
            ("NAMESPACE".into(), namespace.clone()),
            ("INSTANCE_IPS".into(), options.pod_ip.clone()),
            ("NODE_NAME".into(), options.node.clone()),
        ],
    };
    let mut client = Client::new(options.controller.clone(), node, options.verbose);
    let outcome = run_steps(&mut client, &options.steps).await?;
    report::line(&json!({"event": "held", "held": client.counts()}));
    Ok(report::done(&outcome, &options.expect, &client.violations))
}
