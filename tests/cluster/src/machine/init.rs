//! Process 1 of a machine.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, sethostname};

use super::{Machine, mounts};
use crate::layout::Layout;

/// Prepares the machine, starts the supervisor, and buries orphans until the supervisor has ended.
///
/// # Errors
/// The machine cannot be prepared.
pub fn run(specification: &Path) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("die with the keeper")?;
    let machine = Machine::read(specification)?;
    let layout = Layout::new(&machine.cluster);
    sethostname(&machine.name).context("set the host name")?;
    mounts::make(&machine, &layout)?;
    sysctls();
    let supervisor = Command::new(std::env::current_exe()?)
        .arg("internal-supervisor")
        .arg(specification)
        .spawn()
        .context("start the supervisor")?;
    let supervisor = Pid::from_raw(i32::try_from(supervisor.id())?);
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == supervisor => {
                return Ok(ExitCode::FAILURE);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for children"),
        }
    }
}

/// Of the machine's own network.
fn sysctls() {
    const VALUES: &[(&str, &str)] = &[
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/forwarding", "1"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
    ];
    for (key, value) in VALUES {
        // A kernel without IPv6 lacks some of these; what depends on them fails later, by name.
        let _ = fs::write(format!("/proc/sys/net/{key}"), value);
    }
}
