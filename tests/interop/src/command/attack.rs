//! `attack`: sends what a hostile peer would send, and judges how the victim took it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::connect::Creds;
use crate::attack::{self, Kind, Target};
use crate::report;

/// Options of `attack`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What is attacked.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Its address, IP:PORT.
    #[arg(long)]
    to: Option<SocketAddr>,
    /// Its Unix socket.
    #[arg(long)]
    socket: Option<PathBuf>,
    #[command(flatten)]
    creds: Creds,
    /// Name in the controller's certificate.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// An `:authority` that the tunnel takes: good requests go there while attacks run.
    #[arg(long, default_value = "")]
    authority: String,
    /// Seconds within which a wrong connection must end or be answered.
    #[arg(long, default_value_t = 40.0)]
    limit: f64,
    /// Connections at once, where an attack uses many.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Frames of a flood.
    #[arg(long, default_value_t = 100_000)]
    frames: usize,
    /// Process whose memory is watched.
    #[arg(long)]
    pid: Option<u32>,
    /// MiB that it may grow by during one attack.
    #[arg(long, default_value_t = 128)]
    growth: u64,
    /// Send no good requests while attacks run.
    #[arg(long)]
    quiet: bool,
    /// Run the attacks at the same time.
    #[arg(long)]
    parallel: bool,
    /// Attacks to leave out.
    #[arg(long)]
    skip: Vec<String>,
    /// Print the names of the attacks on this kind, and end.
    #[arg(long)]
    list: bool,
    /// Attacks to run; all by default.
    names: Vec<String>,
}

/// Runs them one after the other.
pub async fn run(options: &Options) -> Result<bool> {
    let all: Vec<String> = attack::names(options.kind)
        .into_iter()
        .map(str::to_owned)
        .collect();
    if options.list {
        report::line(&json!({"event": "attacks", "names": all}));
        return Ok(true);
    }
    let target = Target {
        kind: options.kind,
        to: options.to,
        socket: options.socket.clone(),
        creds: options.creds.clone(),
        host: options.host.clone(),
        authority: options.authority.clone(),
        limit: Duration::from_secs_f64(options.limit),
        connections: options.connections,
        frames: options.frames,
        pid: options.pid,
        quiet: options.quiet,
        growth: options.growth << 20,
    };
    let chosen = if options.names.is_empty() {
        all
    } else {
        options.names.clone()
    };
    let names: Vec<String> = chosen
        .into_iter()
        .filter(|name| !options.skip.contains(name))
        .collect();
    let mut failed = Vec::new();
    let mut judge = |name: &str, result: serde_json::Value| {
        if result["ok"] != true {
            failed.push(name.to_owned());
        }
        report::line(&result);
    };
    if options.parallel {
        let tasks: Vec<_> = names
            .iter()
            .map(|name| (name, tokio::spawn(one(name.clone(), target.clone()))))
            .collect();
        for (name, task) in tasks {
            judge(name, task.await??);
        }
    } else {
        for name in &names {
            judge(name, attack::run(name, &target).await?);
        }
    }
    report::line(
        &json!({"event": "done", "ok": failed.is_empty(), "ran": names.len(), "failed": failed}),
    );
    Ok(failed.is_empty())
}

async fn one(name: String, target: Target) -> Result<serde_json::Value> {
    attack::run(&name, &target).await
}
