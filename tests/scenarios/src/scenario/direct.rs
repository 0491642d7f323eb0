//! Direct flows can be turned off, for those who want encryption inside a node as well, and on again.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::interception::is_direct;
use super::observe::counted;
use super::{Registry, Suite};
use crate::peer::StreamReport;
use crate::process::{LIMIT, run};
use crate::world::{CLIENT_A, Ip, SERVER_A, World, eventually, parse, port};

const SOON: Duration = Duration::from_secs(5);

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    let off = "warren.dev/direct-flows=off";
    let required = "warren.dev/encryption=required";
    add.both("off-for-a-namespace", move |w, ip| {
        off_and_on(w, ip, &Switch::Label("namespace", "shop", off))
    });
    add.both("off-for-the-client", move |w, ip| {
        off_and_on(w, ip, &Switch::Label("pod", CLIENT_A.name, off))
    });
    add.both("off-for-the-server", move |w, ip| {
        off_and_on(w, ip, &Switch::Label("pod", SERVER_A.name, off))
    });
    add.both("off-where-encryption-is-required", move |w, ip| {
        off_and_on(w, ip, &Switch::Label("namespace", "shop", required))
    });
    add.both("off-for-the-mesh", |w, ip| off_and_on(w, ip, &Switch::Mesh));
    add.in_suite(Suite::NoDirectFlows, |add| {
        add.both("off-by-the-agents-flag", by_flag);
    });
}

/// Where direct flows are turned off.
enum Switch {
    /// By a label of an object: kind, name, `key=value`.
    Label(&'static str, &'static str, &'static str),
    /// By the agent.
    Mesh,
}

impl Switch {
    fn set(&self, world: &World, off: bool) -> Result<()> {
        match self {
            Self::Label(kind, name, label) => {
                let key = label.split('=').next().unwrap_or_default();
                let word = if off {
                    (*label).to_owned()
                } else {
                    format!("{key}-")
                };
                let argv = ["label", "-n", "shop", kind, name, &word];
                world.lab.lab(&argv)?.ok().map(drop)
            }
            Self::Mesh => {
                let socket = world.lab.dir().join("nodes/a/run/agent-admin.sock");
                let mut command = Command::new("curl");
                command
                    .args(["-sS", "-m", "5", "--fail", "-X", "PUT", "--unix-socket"])
                    .arg(socket)
                    .args(["-H", "content-type: application/json", "-d"])
                    .arg(format!("{{\"on\": {}}}", !off))
                    .arg("http://warren/direct-flows");
                run(command, LIMIT)?.ok().map(drop)
            }
        }
    }
}

/// Sets a switch back when dropped.
struct TurnedOff<'a>(&'a World, &'a Switch);

impl Drop for TurnedOff<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.1.set(self.0, false) {
            eprintln!("direct flows stay off: {error:#}");
        }
    }
}

fn off_and_on(world: &World, ip: Ip, switch: &Switch) -> Result<()> {
    becomes_direct(world, ip, true)?;
    reported_as(world, ip, "kernel")?;
    let at = world.at(SERVER_A, ip, port::ECHO)?.to_string();
    let mut live = world.start_peer(CLIENT_A, &["stream", &at, "--seconds", "6"], true)?;
    let off = TurnedOff(world, switch);
    switch.set(world, true)?;
    becomes_direct(world, ip, false)?;
    // As on the way to another node: the server's tunnel saw the client's certificate.
    reported_as(world, ip, "mutual_tls")?;
    for _ in 0..3 {
        ensure!(
            !is_direct(world, CLIENT_A, SERVER_A, ip)?,
            "direct again while direct flows are off"
        );
    }
    // What was direct and is still allowed stays as it is to its end.
    live.wait(LIMIT)?;
    let report: StreamReport = parse(&live.rest())?;
    ensure!(report.ok, "a live direct flow was disturbed: {report:?}");
    drop(off);
    becomes_direct(world, ip, true)?;
    reported_as(world, ip, "kernel")
}

/// What metrics say of further connections.
fn reported_as(world: &World, ip: Ip, security: &str) -> Result<()> {
    // The first connection to a port asks for a verdict; the connections so far are counted once both ends have noticed their end.
    let at = world.at(SERVER_A, ip, port::SINK)?.to_string();
    world.connect(CLIENT_A, &at, &["--mode", "sink"])?;
    std::thread::sleep(Duration::from_millis(500));
    let label = format!("security_policy=\"{security}\"");
    counted(world, ip, CLIENT_A, SERVER_A, &[&label])
}

fn becomes_direct(world: &World, ip: Ip, expected: bool) -> Result<()> {
    eventually(SOON, || {
        ensure!(
            is_direct(world, CLIENT_A, SERVER_A, ip)? == expected,
            "{CLIENT_A} to {SERVER_A}: expected direct: {expected}"
        );
        Ok(())
    })
}

/// The flag holds from the agent's start on; the admin socket goes before it until the agent's next start.
fn by_flag(world: &World, ip: Ip) -> Result<()> {
    let at = world.at(SERVER_A, ip, port::ECHO)?.to_string();
    for _ in 0..5 {
        world.connect(CLIENT_A, &at, &[])?;
        ensure!(
            !is_direct(world, CLIENT_A, SERVER_A, ip)?,
            "direct although the agent was started with --direct-flows=off"
        );
    }
    reported_as(world, ip, "mutual_tls")?;
    Switch::Mesh.set(world, false)?;
    becomes_direct(world, ip, true)?;
    world.lab.lab(&["restart", "agent", "--node", "a"])?.ok()?;
    becomes_direct(world, ip, false)
}
