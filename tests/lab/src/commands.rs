//! The lab's command line.

mod down;
mod exec;
mod objects;
mod ps;
mod token;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::container::{run_entry, run_sandbox};
use crate::paths::{self, Paths};
use crate::{daemon, kubelet, process, selftest};

pub use up::{INTERRUPTED, UpArgs, up};

/// Pods and nodes on one machine, with the mesh at work between them.
#[derive(Debug, Parser)]
#[command(name = "warren-lab", version)]
struct Cli {
    /// Name of the lab: `lab` for `up`, the one that is up for all others
    #[arg(long, global = true, value_parser = up::node_name)]
    name: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a lab; returns when every pod is ready
    Up(UpArgs),
    /// Run a command in a pod
    Exec(exec::ExecArgs),
    /// Create or change objects
    Apply(objects::ApplyArgs),
    /// Delete objects and wait until their pods are gone
    Delete(objects::DeleteArgs),
    /// Set (key=value) or remove (key-) labels of an object
    Label(objects::LabelArgs),
    /// Wait until every pod is ready
    Wait(objects::WaitArgs),
    /// Copy a file from or to a pod: NAMESPACE/POD:PATH
    Cp(exec::CpArgs),
    /// Print what a container or a component wrote
    Logs(exec::LogsArgs),
    /// List pods and components
    Ps(ps::PsArgs),
    /// Run a command in a node's network namespace (`outside` is a client beyond the nodes)
    Node(exec::NodeArgs),
    /// Restart a component and wait until it serves
    Restart(ps::ComponentArgs),
    /// Stop a component
    Stop(ps::ComponentArgs),
    /// Start a stopped component
    Start(ps::ComponentArgs),
    /// Mint a service account token
    Token(token::TokenArgs),
    /// Remove the lab, or what is left of it
    Down,
    /// Try the lab itself, without the mesh
    Selftest(selftest::SelftestArgs),
    #[command(hide = true)]
    InternalDaemon { options: PathBuf },
    #[command(hide = true)]
    InternalSandbox { spec: PathBuf },
    #[command(hide = true)]
    InternalRun { entry: String },
    #[command(hide = true)]
    InternalKubelet,
}

/// A pod and the namespace it is in.
#[derive(Clone, Debug, Args)]
pub struct PodArgs {
    /// Namespace
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Container, the first by default
    #[arg(short, long)]
    pub container: Option<String>,
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
    process::require_root()?;
    if !matches!(command, Command::Up(_) | Command::Selftest(_)) {
        check_name(name)?;
    }
    match command {
        Command::Up(args) => up::command(&args, name.unwrap_or(up::DEFAULT_NAME)),
        Command::Exec(args) => exec::exec(&args),
        Command::Apply(args) => objects::apply(&args),
        Command::Delete(args) => objects::delete(&args),
        Command::Label(args) => objects::label(&args),
        Command::Wait(args) => objects::wait(&args),
        Command::Cp(args) => exec::cp(&args),
        Command::Logs(args) => exec::logs(&args),
        Command::Ps(args) => ps::ps(&args),
        Command::Node(args) => exec::node(&args),
        Command::Restart(args) => ps::component("restart", &args),
        Command::Stop(args) => ps::component("stop", &args),
        Command::Start(args) => ps::component("start", &args),
        Command::Token(args) => token::token(&args),
        Command::Down => down::down(),
        Command::Selftest(args) => selftest::command(&args),
        Command::InternalDaemon { options } => {
            let text = std::fs::read_to_string(&options).context("cannot read the options")?;
            daemon::run(serde_json::from_str(&text)?).map(|()| ExitCode::SUCCESS)
        }
        Command::InternalSandbox { spec } => {
            run_sandbox(&serde_json::from_str(&std::fs::read_to_string(&spec)?)?)
                .map(|()| ExitCode::SUCCESS)
        }
        Command::InternalRun { entry } => match run_entry(&serde_json::from_str(&entry)?)? {},
        Command::InternalKubelet => kubelet::run().map(|()| ExitCode::SUCCESS),
    }
}

/// A name given must be that of the lab that is up, if one is.
fn check_name(name: Option<&str>) -> Result<()> {
    match (name, paths::labs().first()) {
        (Some(name), Some(up)) if name != up => {
            bail!("the lab that is up is called {up}, not {name}")
        }
        _ => Ok(()),
    }
}

/// Paths of the lab of this machine.
pub fn current() -> Result<Paths> {
    match paths::labs().as_slice() {
        [] => bail!("no lab is up: `cargo xtask lab up --dir MANIFESTS` starts one"),
        [name, ..] => Ok(Paths::new(name)),
    }
}
