//! The keeper: what makes a machine's namespaces and stands for it outside them.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, setsid};

use super::Machine;
use crate::layout::Layout;
use crate::{cgroups, interrupt, network, wait};

/// Runs the machine that the file at `specification` describes until its process 1 has ended.
///
/// # Errors
/// The machine cannot be set up.
pub fn run(specification: &Path) -> Result<ExitCode> {
    interrupt::unblock()?;
    // A new session: no terminal ends the machine by going away.
    let _: Result<Pid, _> = setsid();
    let machine = Machine::read(specification)?;
    let layout = Layout::new(&machine.cluster);
    let alive = hold(&layout, &machine.name)?;
    cgroups::join(&layout, &machine.name)?;
    let netns = Path::new(network::NETNS_DIR).join(layout.netns(&machine.name));
    let file = File::open(&netns).with_context(|| netns.display().to_string())?;
    setns(file, CloneFlags::CLONE_NEWNET).context("enter the machine's network")?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWPID,
    )
    .context("make the machine's namespaces (CAP_SYS_ADMIN is needed)")?;
    cgroups::settle(&layout, &machine.name)?;
    let mut first = Command::new(std::env::current_exe()?)
        .arg("internal-init")
        .arg(specification)
        .spawn()
        .context("start the machine's process 1")?;
    alive.set_len(0)?;
    writeln!(&alive, "{}", first.id())?;
    let status = first.wait()?;
    eprintln!("machine {} has ended: {status}", machine.name);
    Ok(ExitCode::SUCCESS)
}

/// Takes the lock that says "alive"; process 1's number goes into it.
fn hold(layout: &Layout, machine: &str) -> Result<File> {
    let path = layout.alive(machine);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    // Who asks whether the machine is alive holds the lock for a moment.
    let free = || Ok(file.try_lock().is_ok());
    wait::until(
        "the lock of a machine that is on",
        Duration::from_secs(1),
        &[],
        free,
    )?;
    Ok(file)
}

/// Number of a machine's process 1, seen from here.
///
/// # Errors
/// The machine is off, or has only just been started.
pub fn process_one(layout: &Layout, machine: &str) -> Result<i32> {
    let off = || format!("machine {machine} is off");
    anyhow::ensure!(super::is_alive(layout, machine), off());
    let text = std::fs::read_to_string(layout.alive(machine)).with_context(off)?;
    text.trim()
        .parse()
        .with_context(|| format!("machine {machine} is starting"))
}
