//! The command line: without a subcommand the whole benchmark; the subcommands are what it runs inside pods.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::ifaddrs::getifaddrs;

use crate::controller::observe;
use crate::load::{self, report::Report};
use crate::{process, report, suite};

/// Measures the mesh against the same path without it.
#[derive(Debug, Parser)]
#[command(name = "warren-bench", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

/// What to measure.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Few and short runs: to see that it works, not to publish
    #[arg(long)]
    pub quick: bool,
    /// Only these parts; all by default
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Directory for bench.json and BENCHMARKS.md; `docs` of the workspace by default
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Directory of the mesh's programs; that of this program by default
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
    /// Use the lab that is up instead of a new one (made by an earlier run with --keep)
    #[arg(long)]
    pub reuse: bool,
    /// Leave the lab up
    #[arg(long)]
    pub keep: bool,
    /// Workloads of the controller's runs
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    pub workloads: Vec<usize>,
}

/// One part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Direct flows on one node
    SameNode,
    /// Mutual TLS between nodes
    CrossNode,
    /// The tunnel's memory
    Memory,
    /// The controller with many workloads
    Controller,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP answers `GET /SIZE` and count what is sent to the sink
    Serve {
        /// Port, on all addresses
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Load a server and print one JSON object
    #[command(subcommand)]
    Load(Load),
    /// Write BENCHMARKS.md anew from bench.json beside it
    Page {
        /// Their directory
        dir: PathBuf,
    },
    /// Print this pod's addresses, one a line, IPv4 first
    Address,
    /// Follow a controller and print what arrives, one JSON object an update
    Observe(observe::Args),
}

#[derive(Debug, Args)]
struct Target {
    /// Server, IP:PORT
    #[arg(long)]
    target: SocketAddr,
    /// How long to measure
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Bytes a second
    Throughput {
        #[command(flatten)]
        target: Target,
        /// Connections at once
        #[arg(long, default_value_t = 1)]
        streams: usize,
    },
    /// New connections a second, one request each
    Connections {
        #[command(flatten)]
        target: Target,
        /// Connections at once
        #[arg(long, default_value_t = 8)]
        concurrency: usize,
        /// Bytes of an answer
        #[arg(long, default_value_t = 1024)]
        size: usize,
    },
    /// Latency at a fixed rate, without coordinated omission
    Paced {
        #[command(flatten)]
        target: Target,
        /// Requests a second
        #[arg(long, default_value_t = 1000)]
        rate: u32,
        /// Keep-alive connections
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Bytes of an answer
        #[arg(long, default_value_t = 1024)]
        size: usize,
    },
    /// Requests a second, each connection sending when it was answered
    Closed {
        #[command(flatten)]
        target: Target,
        /// Keep-alive connections
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Bytes of an answer
        #[arg(long, default_value_t = 1024)]
        size: usize,
    },
    /// Open connections, use each once, say so, keep them
    Hold {
        #[command(flatten)]
        target: Target,
        /// Connections
        #[arg(long, default_value_t = 1000)]
        connections: usize,
    },
}

/// Runs a command line.
///
/// # Errors
/// What failed, with its cause.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        None => suite::run(&cli.run)?,
        Some(Command::Serve { port }) => {
            process::raise_open_files()?;
            load::server::serve(port).with_context(|| format!("cannot serve port {port}"))?;
        }
        Some(Command::Load(load)) => run_load(load)?,
        Some(Command::Page { dir }) => report::rewrite(&dir)?,
        Some(Command::Address) => addresses()?,
        Some(Command::Observe(args)) => observe::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_load(load: Load) -> Result<()> {
    process::raise_open_files()?;
    let failed = |e: io::Error| anyhow::anyhow!("the load stopped: {e}");
    let report = match load {
        Load::Throughput { target, streams } => {
            load::throughput(target.target, streams, seconds(target.seconds)?)
        }
        Load::Connections {
            target,
            concurrency,
            size,
        } => load::connections(target.target, concurrency, size, seconds(target.seconds)?),
        Load::Paced {
            target,
            rate,
            connections,
            size,
        } => load::paced(
            target.target,
            rate,
            connections,
            size,
            seconds(target.seconds)?,
        )
        .map_err(failed)?,
        Load::Closed {
            target,
            connections,
            size,
        } => load::closed(target.target, connections, size, seconds(target.seconds)?)
            .map_err(failed)?,
        Load::Hold {
            target,
            connections,
        } => {
            return Ok(load::hold::hold(
                target.target,
                connections,
                seconds(target.seconds)?,
            )?);
        }
    };
    print(&report)
}

fn seconds(seconds: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(length) if (0.01..=3600.0).contains(&seconds) => Ok(length),
        _ => bail!("--seconds {seconds}: between 0.01 and 3600"),
    }
}

fn print(report: &Report) -> Result<()> {
    Ok(writeln!(
        io::stdout(),
        "{}",
        serde_json::to_string(report)?
    )?)
}

fn addresses() -> Result<()> {
    let mut found = Vec::new();
    for interface in getifaddrs()? {
        let Some(address) = interface.address else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            found.push(std::net::IpAddr::from(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            found.push(v6.ip().into());
        }
    }
    found.retain(|ip| match ip {
        std::net::IpAddr::V4(ip) => !ip.is_loopback(),
        std::net::IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    });
    found.sort_unstable();
    let lines: String = found.iter().map(|ip| format!("{ip}\n")).collect();
    Ok(io::stdout().write_all(lines.as_bytes())?)
}
