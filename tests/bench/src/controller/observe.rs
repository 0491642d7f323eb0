//! A client that keeps the whole mesh as a tunnel does, and says after each update what it has.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use warren_api::channel::Target;
use warren_api::xds::{Client, Config, NodeInfo, Update};
use warren_core::Mesh;

use super::mesh::seconds_now;

/// Whom to follow.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The controller, `https://host:port`
    #[arg(long)]
    address: String,
    /// PEM file with the controller's root
    #[arg(long)]
    root_cert: PathBuf,
    /// File with the token
    #[arg(long)]
    token: PathBuf,
    /// Node to be on
    #[arg(long)]
    node: String,
}

/// One update, as it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When it was applied, in seconds since 1970.
    pub at: f64,
    /// Seconds since the client was started.
    pub elapsed: f64,
    /// Workloads known now.
    pub workloads: usize,
    /// Whether everything has arrived at least once.
    pub synced: bool,
}

/// Follows a controller until the process is ended.
///
/// # Errors
/// The runtime cannot be started or standard output is gone.
pub fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(follow(args))
}

async fn follow(args: &Args) -> Result<()> {
    let started = Instant::now();
    let node = NodeInfo {
        ip: std::net::Ipv4Addr::LOCALHOST.into(),
        pod: "warren-ztunnel-0".into(),
        namespace: "warren-system".into(),
        node: args.node.clone(),
        metadata: Default::default(),
    };
    let target = Target {
        address: args.address.clone(),
        root_cert: args.root_cert.clone(),
        token: Some(args.token.clone()),
        cluster_id: "Kubernetes".into(),
    };
    let (_client, mut updates) = Client::new(Config::new(target, node));
    let (mut mesh, mut policies, mut addresses) = (Mesh::default(), false, false);
    while let Some(update) = updates.recv().await {
        policies |= update.policies_synced;
        addresses |= update.addresses_synced;
        apply(&mut mesh, update);
        let seen = Seen {
            at: seconds_now(),
            elapsed: started.elapsed().as_secs_f64(),
            workloads: mesh.workloads().len(),
            synced: policies && addresses,
        };
        println!("{}", serde_json::to_string(&seen)?);
    }
    Ok(())
}

fn apply(mesh: &mut Mesh, update: Update) {
    update
        .policies
        .into_iter()
        .for_each(|p| drop(mesh.upsert_policy(p)));
    update
        .workloads
        .into_iter()
        .for_each(|w| drop(mesh.upsert_workload(w)));
    update
        .services
        .into_iter()
        .for_each(|s| drop(mesh.upsert_service(s)));
    update
        .removed_workloads
        .iter()
        .for_each(|uid| drop(mesh.remove_workload(uid)));
    update
        .removed_services
        .iter()
        .for_each(|key| drop(mesh.remove_service(key)));
    update
        .removed_policies
        .iter()
        .for_each(|key| drop(mesh.remove_policy(key)));
}
