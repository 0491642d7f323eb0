//! `node`, `power-off`, `power-on`.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::cgroups;
use crate::layout::Layout;
use crate::machine::{self, is_alive, keeper};
use crate::out;

#[derive(Debug, clap::Args)]
pub(super) struct MachineArgs {
    /// The node, or `control`
    machine: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct NodeArgs {
    /// The node, or `control`
    machine: String,
    /// What to run there
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

pub(super) fn command(args: &NodeArgs, layout: &Layout) -> Result<ExitCode> {
    known(layout, &args.machine)?;
    // What was started from outside ends with the machine, too.
    cgroups::settle(layout, &args.machine)?;
    let error = enter(layout, &args.machine)?.args(&args.command).exec();
    Err(error).context("start nsenter: is util-linux installed?")
}

/// A command to which a program and its arguments are to be added; it runs on the machine.
pub(crate) fn enter(layout: &Layout, machine: &str) -> Result<Command> {
    let process = keeper::process_one(layout, machine)?;
    let mut command = Command::new("nsenter");
    command.arg(format!("--target={process}"));
    command.args([
        "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--",
    ]);
    Ok(command)
}

pub(super) fn power_off(args: &MachineArgs, layout: &Layout) -> Result<ExitCode> {
    known(layout, &args.machine)?;
    machine::power_off(layout, &args.machine)?;
    out::line(format_args!("{} is off", args.machine));
    Ok(ExitCode::SUCCESS)
}

/// Starts the machine again. Like after a real power cut, containerd and kubelet find what their disk had.
pub(super) fn power_on(args: &MachineArgs, layout: &Layout) -> Result<ExitCode> {
    known(layout, &args.machine)?;
    if is_alive(layout, &args.machine) {
        bail!("{} is on", args.machine);
    }
    machine::power_on(layout, &args.machine)?;
    out::line(format_args!(
        "{} is on; `cargo xtask cluster kubectl get nodes` says when it is ready",
        args.machine
    ));
    Ok(ExitCode::SUCCESS)
}

fn known(layout: &Layout, machine: &str) -> Result<()> {
    let all = machine::machines(layout);
    if !all.iter().any(|name| name == machine) {
        bail!(
            "cluster {} has no machine {machine}, but {}",
            layout.name,
            all.join(", ")
        );
    }
    Ok(())
}
