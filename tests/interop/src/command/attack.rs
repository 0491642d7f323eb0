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
        growth: options.growth << 20,
    };
    let names = if options.names.is_empty() {
        &all
    } else {
        &options.names
    };
    let mut failed = Vec::new();
    for name in names {
        let result = attack::run(name, &target).await?;
        if result["ok"] != true {
            failed.push(name.clone());
        }
        report::line(&result);
    }
    report::line(
        &json!({"event": "done", "ok": failed.is_empty(), "ran": names.len(), "failed": failed}),
    );
    Ok(failed.is_empty())
}
