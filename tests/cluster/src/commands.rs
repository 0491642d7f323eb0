//! The cluster's command line.

pub mod load;
pub(crate) mod node;
mod status;
mod up;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use crate::binaries;
use crate::kubectl::Kubectl;
use crate::layout::{Layout, cluster_name, clusters};
use crate::machine::{init, keeper, supervisor};
use crate::plan::Plan;
use crate::{interrupt, out, remove, smoke, suites, workload_image};

pub use up::{UpArgs, up};

/// A real Kubernetes of several nodes on this machine.
#[derive(Debug, Parser)]
#[command(name = "warren-cluster", version)]
struct Cli {
    /// Name of the cluster: `warren` for `up`, the only one for all others
    #[arg(long, global = true, value_parser = cluster_name)]
    name: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster; returns when its nodes and its DNS are ready
    Up(UpArgs),
    /// Remove a cluster, or what is left of it
    Down,
    /// Give image archives to every node
    LoadImages(load::LoadArgs),
    /// Run the cluster's kubectl
    #[command(disable_help_flag = true)]
    Kubectl(Rest),
    /// Run the Helm of the tests
    #[command(disable_help_flag = true)]
    Helm(Rest),
    /// Show machines and components
    Status,
    /// Run a command on a node
    Node(node::NodeArgs),
    /// Pull the plug of a node
    PowerOff(node::MachineArgs),
    /// Switch a node on again
    PowerOn(node::MachineArgs),
    /// Build the programs of Kubernetes where the cache lacks them, and show where they are
    Binaries,
    /// Write the image of test workloads (curl, Python and others of this machine's packages)
    WorkloadImage { archive: PathBuf },
    /// Try the cluster itself: pods, Services, DNS, exec, logs, and that nothing is left
    Smoke(smoke::SmokeArgs),
    /// Try the mesh on a cluster of its own, end to end
    Suites(suites::SuitesArgs),
    #[command(hide = true)]
    InternalKeeper { specification: PathBuf },
    #[command(hide = true)]
    InternalInit { specification: PathBuf },
    #[command(hide = true)]
    InternalSupervisor { specification: PathBuf },
    #[command(hide = true)]
    InternalStart {
        cgroup: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Arguments passed on as they are.
#[derive(Debug, clap::Args)]
struct Rest {
    /// Passed on
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    rest: Vec<OsString>,
}

/// Runs the command line and returns the exit status: 2 for bad arguments, 1 for a failure.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match warren_arguments::parse_from(arguments, Ok) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    match run(cli.command, cli.name.as_deref()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, name: Option<&str>) -> Result<ExitCode> {
    match command {
        Command::InternalKeeper { specification } => return keeper::run(&specification),
        Command::InternalInit { specification } => return init::run(&specification),
        Command::InternalSupervisor { specification } => return supervisor::run(&specification),
        Command::InternalStart { cgroup, command } => return supervisor::start(&cgroup, &command),
        Command::WorkloadImage { archive } => return workload_image::command(&archive),
        Command::Binaries => {
            interrupt::watch()?;
            return list_binaries();
        }
        _ => {}
    }
    require_root()?;
    match command {
        Command::Up(args) => up::command(&args, name.unwrap_or(up::DEFAULT_NAME)),
        Command::Smoke(args) => smoke::command(&args, name),
        Command::Suites(args) => suites::command(&args, name),
        Command::Down => down(name),
        Command::LoadImages(args) => load::command(&args, &existing(name)?),
        Command::Kubectl(args) => kubectl(&existing(name)?, &args.rest),
        Command::Helm(args) => helm(&existing(name)?, &args.rest),
        Command::Status => status::command(&existing(name)?),
        Command::Node(args) => node::command(&args, &existing(name)?),
        Command::PowerOff(args) => node::power_off(&args, &existing(name)?),
        Command::PowerOn(args) => node::power_on(&args, &existing(name)?),
        _ => bail!("this is not a command for people"),
    }
}

/// The cluster that is meant: the one named, or the only one.
fn existing(name: Option<&str>) -> Result<Layout> {
    let all = clusters();
    let layout = match (name, all.as_slice()) {
        (Some(name), _) => Layout::new(name),
        (None, [one]) => Layout::new(one),
        (None, []) => bail!("no cluster is up: `cargo xtask cluster up` starts one"),
        (None, _) => bail!(
            "several clusters are up ({}): say which with --name",
            all.join(", ")
        ),
    };
    Plan::load(&layout)?;
    Ok(layout)
}

fn down(name: Option<&str>) -> Result<ExitCode> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None if clusters().is_empty() => vec![up::DEFAULT_NAME.to_owned()],
        None => vec![existing_name()?],
    };
    for name in names {
        remove::remove(&Layout::new(&name))?;
        out::line(format_args!("cluster {name} is down"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Files of a cluster that never came up are no reason to refuse its removal.
fn existing_name() -> Result<String> {
    match clusters().as_slice() {
        [one] => Ok(one.clone()),
        all => bail!(
            "several clusters are up ({}): say which with --name",
            all.join(", ")
        ),
    }
}

fn kubectl(layout: &Layout, arguments: &[OsString]) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&binaries::ensure()?.program("kubectl")?, layout);
    let error = kubectl.command().args(arguments).exec();
    Err(error).context("start kubectl")
}

fn helm(layout: &Layout, arguments: &[OsString]) -> Result<ExitCode> {
    let error = std::process::Command::new(binaries::ensure_all()?.program("helm")?)
        .args(arguments)
        .env("KUBECONFIG", layout.kubeconfig())
        .exec();
    Err(error).context("start helm")
}

fn list_binaries() -> Result<ExitCode> {
    for (path, size) in binaries::ensure_all()?.list() {
        out::line(format_args!("{:>7.1} MB  {path}", size as f64 / 1e6));
    }
    Ok(ExitCode::SUCCESS)
}

fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("a cluster is made of network namespaces, mounts and cgroups: run this as root")
}
