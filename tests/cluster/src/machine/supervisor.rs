//! The supervisor: starts a machine's components in their order, and again when they end.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::{Component, Machine, mounts};
use crate::cgroups;
use crate::layout::Layout;

/// What systemd waits by default is 100 ms; a component that fails at once would fill its log.
const AGAIN: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Runs the components for ever.
///
/// # Errors
/// A cgroup cannot be prepared.
pub fn run(specification: &Path) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("die with process 1")?;
    let machine = Machine::read(specification)?;
    let layout = Layout::new(&machine.cluster);
    cgroups::enable_controllers(&mounts::unified()?)?;
    std::thread::scope(|scope| {
        for component in &machine.components {
            let (machine, layout) = (&machine, &layout);
            scope.spawn(move || keep(machine, layout, component));
        }
    });
    Ok(ExitCode::FAILURE)
}

fn keep(machine: &Machine, layout: &Layout, component: &Component) {
    for command in &component.first {
        while !attempt(machine, command) {
            std::thread::sleep(ASK_AGAIN);
        }
    }
    loop {
        let end = once(machine, layout, component);
        let said = match end {
            Ok(text) => text,
            Err(error) => format!("{error:#}"),
        };
        eprintln!("{}: {said}; again in {} s", component.name, AGAIN.as_secs());
        std::thread::sleep(AGAIN);
    }
}

fn attempt(machine: &Machine, command: &[String]) -> bool {
    let Some((program, arguments)) = command.split_first() else {
        return true;
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", path(machine))
        .stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

fn once(machine: &Machine, layout: &Layout, component: &Component) -> Result<String> {
    let log = layout.log(&machine.name, &component.name);
    let mut log = File::options().create(true).append(true).open(&log)?;
    writeln!(log, "---- started: {}", component.command.join(" "))?;
    let cgroup = mounts::unified()?
        .join("system.slice")
        .join(format!("{}.service", component.name));
    fs::create_dir_all(&cgroup)?;
    let status = Command::new(std::env::current_exe()?)
        .arg("internal-start")
        .arg(cgroup)
        .args(&component.command)
        .env("PATH", path(machine))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()?;
    Ok(format!("ended, {status}"))
}

fn path(machine: &Machine) -> String {
    let own = machine
        .path
        .iter()
        .map(|folder| folder.display().to_string());
    let usual = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(str::to_owned);
    own.chain(usual).collect::<Vec<_>>().join(":")
}

/// Joins a cgroup and becomes a program.
///
/// # Errors
/// Either fails.
pub fn start(cgroup: &Path, command: &[String]) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("die with the supervisor")?;
    cgroups::enter(cgroup)?;
    let (program, arguments) = command.split_first().context("no program")?;
    let error = Command::new(PathBuf::from(program)).args(arguments).exec();
    Err(error).with_context(|| format!("start {program}"))
}
