//! Whatever process dies, nothing goes out in plaintext, policy never opens, and everything comes back by itself.

mod down;
mod reboot;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use super::Registry;
use super::wire::MARKER;
use crate::capture::Capture;
use crate::peer::{LoadReport, StreamReport};
use crate::process::Running;
use crate::world::{
    CLIENT_A, Ip, OTHER_A, PLAIN_A, SERVER_A, SERVER_B, World, eventually, parse, port,
};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("agent-killed-under-load", |w| {
        under_load(w, "agent", Loss::None)
    });
    add.one("controller-killed-under-load", |w| {
        under_load(w, "control", Loss::None)
    });
    add.one("tunnel-killed-under-load", |w| {
        under_load(w, "ztunnel", Loss::Tunnelled)
    });
    add.one("tunnel-restarted-under-load", |w| restarted(w, "ztunnel"));
    add.one("agent-restarted-under-load", |w| restarted(w, "agent"));
    down::register(add);
    reboot::register(add);
}

/// What may be lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Loss {
    /// Nothing.
    None,
    /// Connections that the killed tunnel carried.
    Tunnelled,
}

const DENY: &str = "policies/deny-other.yaml";
const SECONDS: &str = "7";
const LIMIT: Duration = Duration::from_secs(40);

/// The traffic that goes on while something is killed.
struct Load<'a> {
    capture: Capture,
    direct: Running,
    tunnelled: Running,
    fresh: Running,
    denied: Running,
    _policy: crate::world::Applied<'a>,
}

impl<'a> Load<'a> {
    fn start(world: &'a World) -> Result<Self> {
        recovered(world)?;
        let policy = world.apply(DENY)?;
        let (near, far) = (
            world.at(SERVER_A, Ip::V4, port::ECHO)?,
            world.at(SERVER_B, Ip::V6, port::ECHO)?,
        );
        let (near, far) = (near.to_string(), far.to_string());
        eventually(Duration::from_secs(5), || {
            let denied = world.try_connect(OTHER_A, &far, &["--timeout-ms", "3000"])?;
            ensure!(!denied.ok, "the policy {DENY} has no effect");
            ensure!(
                super::interception::is_direct(world, CLIENT_A, SERVER_A, Ip::V4)?,
                "no direct flow to kill around"
            );
            Ok(())
        })?;
        let capture = Capture::on_link(world, "a", SERVER_B)?;
        let stream = |to: &str, more: &[&str]| {
            let argv = [
                &["stream", to, "--seconds", SECONDS, "--text", MARKER][..],
                more,
            ]
            .concat();
            world.start_peer(CLIENT_A, &argv, true)
        };
        let load = |from, to: &str| {
            world.start_peer(
                from,
                &[
                    "load",
                    to,
                    "--seconds",
                    SECONDS,
                    "--fresh",
                    "--timeout-ms",
                    "15000",
                ],
                false,
            )
        };
        Ok(Self {
            capture,
            direct: stream(&near, &[])?,
            tunnelled: stream(&far, &["--reconnect"])?,
            fresh: load(CLIENT_A, &far)?,
            denied: load(OTHER_A, &far)?,
            _policy: policy,
        })
    }

    /// Waits for the ends and checks what always holds; returns the tunnelled stream and the fresh connections.
    fn finish(mut self, world: &World) -> Result<(StreamReport, LoadReport)> {
        let direct: StreamReport = ended(&mut self.direct)?;
        ensure!(
            direct.ok && direct.max_gap_ms < 1000,
            "the direct flow noticed: {direct:?}"
        );
        let tunnelled = ended(&mut self.tunnelled)?;
        let fresh = ended(&mut self.fresh)?;
        let denied: LoadReport = ended(&mut self.denied)?;
        ensure!(
            denied.done == 0,
            "policy opened: {} denied requests were answered",
            denied.done
        );
        ensure!(denied.failed > 0, "the denied client did not even try");
        let packets = self.capture.stop()?;
        let clear = packets.occurrences(MARKER)?;
        ensure!(
            clear == 0,
            "the payload was on the link {clear} times in the clear"
        );
        let hosts = format!(
            "host {} and host {}",
            world.ip(CLIENT_A, Ip::V6)?,
            world.ip(SERVER_B, Ip::V6)?
        );
        let others = packets.matching(&format!("tcp and {hosts} and not port 15008"))?;
        ensure!(
            others.is_empty(),
            "{} packets on other ports than 15008: {}",
            others.len(),
            others[0]
        );
        Ok((tunnelled, fresh))
    }
}

fn ended<T: DeserializeOwned>(running: &mut Running) -> Result<T> {
    running.wait(LIMIT)?;
    parse(&running.rest())
}

fn under_load(world: &World, what: &str, loss: Loss) -> Result<()> {
    let load = Load::start(world)?;
    // The lab runs one controller, on its first node.
    let nodes: &[&str] = if what == "control" {
        &["a"]
    } else {
        &["a", "b"]
    };
    for node in nodes {
        std::thread::sleep(Duration::from_millis(1500));
        world
            .lab
            .restart(what, node, true)
            .with_context(|| format!("killing {what} on node {node}"))?;
    }
    let (tunnelled, fresh) = load.finish(world)?;
    match loss {
        Loss::None => unharmed(&tunnelled, &fresh)?,
        Loss::Tunnelled => {
            ensure!(
                tunnelled.connections <= 8,
                "the stream needed {} connections to come back: {tunnelled:?}",
                tunnelled.connections
            );
            ensure!(
                !fresh.failures.keys().any(|k| k.starts_with("connect")),
                "connects failed: {fresh:?}"
            );
        }
    }
    ensure!(fresh.done > 20, "new connections stood still: {fresh:?}");
    recovered(world)
}

/// An orderly restart: not even a tunnelled connection may fail to be made.
fn restarted(world: &World, what: &str) -> Result<()> {
    let load = Load::start(world)?;
    std::thread::sleep(Duration::from_millis(1500));
    world.lab.restart(what, "a", false)?;
    let (tunnelled, fresh) = load.finish(world)?;
    if what == "agent" {
        unharmed(&tunnelled, &fresh)?;
    }
    ensure!(
        fresh.failed == 0,
        "new connections failed during an orderly restart: {fresh:?}"
    );
    recovered(world)
}

fn unharmed(tunnelled: &StreamReport, fresh: &LoadReport) -> Result<()> {
    ensure!(
        tunnelled.ok && tunnelled.max_gap_ms < 2000,
        "the tunnelled stream noticed: {tunnelled:?}"
    );
    ensure!(fresh.failed == 0, "new connections failed: {fresh:?}");
    Ok(())
}

fn recovered(world: &World) -> Result<()> {
    eventually(Duration::from_secs(10), || {
        for (from, to) in [
            (CLIENT_A, SERVER_A),
            (CLIENT_A, SERVER_B),
            (OTHER_A, SERVER_B),
            (PLAIN_A, SERVER_B),
        ] {
            world.connect(
                from,
                &world.at(to, Ip::V4, port::ECHO)?.to_string(),
                &["--timeout-ms", "3000"],
            )?;
        }
        Ok(())
    })
}
