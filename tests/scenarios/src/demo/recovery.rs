//! The tunnel dies and comes back; what the `warren` command shows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::capture::Capture;
use crate::peer::{Outcome, StreamReport};
use crate::scenario::wire::MARKER;
use crate::world::{CLIENT_A, Ip, SERVER_A, SERVER_B, World, parse, port, told};

const LIMIT: Duration = Duration::from_secs(20);

/// SIGKILL to the tunnel of node a, and two seconds without one.
pub fn kill(world: &World) -> Result<Vec<String>> {
    let (near, far) = (
        world.at(SERVER_A, Ip::V4, port::ECHO)?,
        world.at(SERVER_B, Ip::V4, port::ECHO)?,
    );
    let (near, far) = (near.to_string(), far.to_string());
    let capture = Capture::on_link(world, "a", SERVER_B)?;
    let mut direct = world.start_peer(CLIENT_A, &["stream", &near, "--seconds", "5"], true)?;
    world
        .lab
        .lab(&["stop", "ztunnel", "--node", "a", "--kill"])?
        .ok()?;
    let mut client = world.start_peer(
        CLIENT_A,
        &["connect", &far, "--text", MARKER, "--timeout-ms", "15000"],
        false,
    )?;
    std::thread::sleep(Duration::from_secs(2));
    let waited = client.is_running();
    let begin = Instant::now();
    world.lab.lab(&["start", "ztunnel", "--node", "a"])?.ok()?;
    let back = begin.elapsed();
    client.wait(LIMIT)?;
    let outcome: Outcome = parse(&client.rest())?;
    ensure!(
        waited && outcome.ok,
        "the client that came meanwhile: {}",
        told(&outcome)
    );
    direct.wait(LIMIT)?;
    let report: StreamReport = parse(&direct.rest())?;
    ensure!(report.ok, "the direct flow noticed: {report:?}");
    let clear = capture.stop()?.occurrences(MARKER)?;
    ensure!(
        clear == 0,
        "the payload was on the link {clear} times in the clear"
    );
    Ok(vec![
        format!(
            "a direct flow went on: {} messages, longest pause {} ms",
            report.messages, report.max_gap_ms
        ),
        format!(
            "a client that connected meanwhile waited {} ms and was then served; the tunnel was back after {} ms",
            outcome.total_ms,
            back.as_millis()
        ),
        format!("payload on the link in the clear: {clear} times"),
    ])
}

/// The command line's views.
pub fn views(world: &World) -> Result<Vec<String>> {
    let at = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    let _busy = world.start_peer(CLIENT_A, &["stream", &at, "--seconds", "20"], true)?;
    let mut shown = Vec::new();
    for argv in [
        &["status"][..],
        &["workloads", "-n", "shop"],
        &["connections"],
        &["maps", "--node", "a"],
    ] {
        let text = world.lab.warren(argv)?.ok()?;
        ensure!(
            text.lines().count() > 1,
            "`warren {}` shows nothing",
            argv.join(" ")
        );
        shown.push(format!("$ warren {}\n{}", argv.join(" "), text.trim_end()));
    }
    Ok(shown)
}
