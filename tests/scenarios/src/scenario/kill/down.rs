//! A component is down for a while, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{DENY, LIMIT, recovered};
use crate::capture::Capture;
use crate::lab::Pod;
use crate::peer::{LoadReport, Outcome, StreamReport};
use crate::scenario::Registry;
use crate::scenario::interception::is_direct;
use crate::scenario::wire::MARKER;
use crate::world::{
    CLIENT_A, Ip, OTHER_A, PLAIN_A, SERVER_A, SERVER_B, World, eventually, parse, port, told,
};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("client-waits-while-the-tunnel-is-down", waits);
    add.both("tunnel-down-for-long-resets", resets);
    add.both("agent-and-tunnel-down-refuses", refuses);
    add.one("controller-down-changes-nothing", |w| {
        controller_down(w, Duration::from_secs(3))
    });
    add.long(|add| {
        add.one("controller-down-for-minutes-changes-nothing", |w| {
            controller_down(w, Duration::from_secs(150))
        });
    });
    for what in ["agent", "control"] {
        add.one(&format!("policy-changed-while-{what}-was-down"), move |w| {
            changed_meanwhile(w, what)
        });
    }
    add.one("new-pods-wait-for-the-agent", new_pods_wait);
    add.one("service-that-the-mesh-does-not-know", unknown_service);
}

/// Stops a component and starts it again when dropped.
pub(super) struct Stopped<'a> {
    world: &'a World,
    what: &'static str,
    running: bool,
}

impl<'a> Stopped<'a> {
    pub(super) fn new(world: &'a World, what: &'static str) -> Result<Self> {
        world.lab.lab(&["stop", what, "--node", "a"])?.ok()?;
        Ok(Self {
            world,
            what,
            running: false,
        })
    }

    pub(super) fn start(&mut self) -> Result<()> {
        self.running = true;
        self.world
            .lab
            .lab(&["start", self.what, "--node", "a"])?
            .ok()
            .map(drop)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if !self.running
            && let Err(error) = self.start()
        {
            eprintln!("cannot start {} again: {error:#}", self.what);
        }
    }
}

fn waits(world: &World, ip: Ip) -> Result<()> {
    let far = world.at(SERVER_B, ip, port::ECHO)?.to_string();
    let mut stopped = Stopped::new(world, "ztunnel")?;
    let mut client =
        world.start_peer(CLIENT_A, &["connect", &far, "--timeout-ms", "15000"], false)?;
    std::thread::sleep(Duration::from_secs(2));
    ensure!(
        client.is_running(),
        "the client did not wait for the tunnel: {}",
        client.rest()
    );
    stopped.start()?;
    client.wait(LIMIT)?;
    let outcome: Outcome = parse(&client.rest())?;
    ensure!(outcome.ok, "the client waited, then: {}", told(&outcome));
    ensure!(
        outcome.total_ms >= 1500,
        "the client was served within {} ms by a tunnel that was down",
        outcome.total_ms
    );
    recovered(world)
}

fn resets(world: &World, ip: Ip) -> Result<()> {
    let far = world.at(SERVER_B, ip, port::ECHO)?.to_string();
    let _stopped = Stopped::new(world, "ztunnel")?;
    let outcome = world.try_connect(CLIENT_A, &far, &["--timeout-ms", "25000"])?;
    ensure!(!outcome.ok, "connected without a tunnel");
    let errno = outcome.errno.as_deref().unwrap_or_default();
    let reset = ["ECONNRESET", "ECONNREFUSED", "EPIPE", "ENOTCONN"].contains(&errno);
    ensure!(
        // The tunnel may be back any moment: until then the client waits.
        reset && (9_000..16_000).contains(&outcome.total_ms),
        "expected a reset after ten seconds: {}",
        told(&outcome)
    );
    Ok(())
}

fn refuses(world: &World, ip: Ip) -> Result<()> {
    let far = world.at(SERVER_B, ip, port::ECHO)?.to_string();
    let capture = Capture::on_link(world, "a", SERVER_B)?;
    let mut agent = Stopped::new(world, "agent")?;
    let mut tunnel = Stopped::new(world, "ztunnel")?;
    let outcome = world.try_connect(CLIENT_A, &far, &["--text", MARKER, "--timeout-ms", "5000"])?;
    ensure!(!outcome.ok, "connected without agent and tunnel");
    ensure!(
        outcome.total_ms < 2000,
        "expected a refusal at once: {}",
        told(&outcome)
    );
    agent.start()?;
    tunnel.start()?;
    recovered(world)?;
    let clear = capture.stop()?.occurrences(MARKER)?;
    ensure!(
        clear == 0,
        "the payload was on the link {clear} times in the clear"
    );
    Ok(())
}

/// What was open stays open, and new clients are served and refused as before.
fn controller_down(world: &World, time: Duration) -> Result<()> {
    let _policy = world.apply(DENY)?;
    let far = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    let near = world.at(SERVER_A, Ip::V6, port::ECHO)?.to_string();
    let denied = || -> Result<()> {
        let outcome = world.try_connect(OTHER_A, &far, &["--timeout-ms", "3000"])?;
        ensure!(!outcome.ok, "policy opened");
        Ok(())
    };
    eventually(Duration::from_secs(5), denied)?;
    let seconds = time.as_secs().to_string();
    let mut streams = Vec::new();
    for to in [&far, &near] {
        let argv = ["stream", to, "--seconds", &seconds];
        streams.push(world.start_peer(CLIENT_A, &argv, true)?);
    }
    let mut load = {
        let argv = ["load", &far, "--seconds", &seconds, "--fresh"];
        world.start_peer(CLIENT_A, &argv, false)?
    };
    let mut stopped = Stopped::new(world, "control")?;
    let begin = Instant::now();
    while begin.elapsed() < time {
        // Each is a new process in the pod.
        for to in [&far, &near] {
            world.connect(CLIENT_A, to, &[])?;
        }
        denied()?;
        std::thread::sleep(Duration::from_millis(500));
    }
    for mut stream in streams {
        stream.wait(LIMIT)?;
        let report: StreamReport = parse(&stream.rest())?;
        ensure!(report.ok, "a connection from before broke: {report:?}");
    }
    load.wait(LIMIT)?;
    let report: LoadReport = parse(&load.rest())?;
    ensure!(
        report.failed == 0 && report.done > 0,
        "new connections failed: {report:?}"
    );
    stopped.start()?;
    eventually(Duration::from_secs(15), || {
        world
            .connect(CLIENT_A, &far, &["--timeout-ms", "3000"])
            .map(drop)
    })
}

/// What was denied while a component was down is ended and refused once it is back.
fn changed_meanwhile(world: &World, what: &'static str) -> Result<()> {
    recovered(world)?;
    let mut victims = Vec::new();
    for to in [SERVER_A, SERVER_B] {
        let at = world.at(to, Ip::V4, port::ECHO)?.to_string();
        world.connect(PLAIN_A, &at, &[])?;
        // The policy of the scenario before, which names this one, may still be on its way out.
        eventually(Duration::from_secs(5), || {
            world.connect(OTHER_A, &at, &[]).map(drop)
        })?;
        victims.push((
            to,
            world.start_peer(OTHER_A, &["stream", &at, "--seconds", "30"], true)?,
        ));
    }
    let mut stopped = Stopped::new(world, what)?;
    let _policy = world.apply(DENY)?;
    std::thread::sleep(Duration::from_secs(1));
    stopped.start()?;
    for (to, mut running) in victims {
        running
            .wait(Duration::from_secs(15))
            .with_context(|| format!("{OTHER_A} to {to} goes on"))?;
        let report: StreamReport = parse(&running.rest())?;
        ensure!(
            !report.ok,
            "{OTHER_A} to {to} ended without noticing: {report:?}"
        );
        // Agent and tunnel hear of it independently. Until both have, what the earlier policy allowed is open by one of the two ways,
        // and nothing else: the agent sends what it no longer allows to the tunnel, and the tunnel ends what it no longer allows.
        eventually(Duration::from_secs(1), || {
            let at = world.at(to, Ip::V4, port::ECHO)?.to_string();
            let again = world.try_connect(OTHER_A, &at, &[])?;
            ensure!(!again.ok, "{OTHER_A} connects to {to} again");
            Ok(())
        })?;
    }
    recovered_but(world)
}

/// Those that the policy does not name connect.
fn recovered_but(world: &World) -> Result<()> {
    eventually(Duration::from_secs(10), || {
        for to in [SERVER_A, SERVER_B] {
            world.connect(
                CLIENT_A,
                &world.at(to, Ip::V4, port::ECHO)?.to_string(),
                &["--timeout-ms", "3000"],
            )?;
        }
        Ok(())
    })
}

/// A pod that is born without an agent stays unready until there is one, and is in the mesh from its first connection on.
fn new_pods_wait(world: &World) -> Result<()> {
    let pod = Pod::new("shop", "latecomer-a");
    let far = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    let mut agent = Stopped::new(world, "agent")?;
    let _pod = world.apply("services/latecomer.yaml")?;
    std::thread::sleep(Duration::from_secs(2));
    let early = world.try_connect(pod, &far, &["--text", MARKER, "--timeout-ms", "3000"]);
    ensure!(
        !early.is_ok_and(|o| o.ok),
        "a pod that the agent does not know connects"
    );
    agent.start()?;
    eventually(Duration::from_secs(15), || {
        world.connect(pod, &far, &["--timeout-ms", "3000"])?;
        ensure!(
            !is_direct(world, pod, SERVER_B, Ip::V4)?,
            "{pod} is not captured"
        );
        Ok(())
    })
}

/// A Service that only the node's kube-proxy knows takes connections back into the mesh in plaintext. Those that stay on the node are
/// reset, and are no reason to doubt direct flows.
fn unknown_service(world: &World) -> Result<()> {
    let direct = || is_direct(world, CLIENT_A, SERVER_A, Ip::V4);
    eventually(Duration::from_secs(40), || {
        ensure!(direct()?, "no direct flow to begin with");
        Ok(())
    })?;
    // Handshakes that this would excuse are over.
    std::thread::sleep(Duration::from_secs(3));
    let mut stopped = Stopped::new(world, "control")?;
    let service = world.apply("services/kinds.yaml")?;
    let name = format!("near.shop.svc.cluster.local:{}", port::GREET);
    let mut reset = 0;
    for _ in 0..40 {
        let outcome = world.try_connect(CLIENT_A, &name, &["--mode", "greet", "--family", "4"])?;
        reset += usize::from(!outcome.ok);
    }
    ensure!(reset > 0, "kube-proxy led no connection to this node");
    std::thread::sleep(Duration::from_secs(1));
    ensure!(
        direct()?,
        "{CLIENT_A} to {SERVER_A} takes the tunnel after {reset} resets"
    );
    stopped.start()?;
    drop(service);
    recovered(world)
}
