//! A first impression of the cost; `cargo xtask bench` measures with care.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Pod;
use crate::peer::{LoadReport, Outcome};
use crate::world::{CLIENT_A, Ip, PLAIN_A, PLAIN_B, SERVER_A, SERVER_B, World, port};

const BYTES: u64 = 256 << 20;

struct Figures {
    gigabits: f64,
    requests: LoadReport,
}

/// The same three measurements on three paths.
pub fn figures(world: &World) -> Result<Vec<String>> {
    let paths = [
        ("between nodes, no mesh", PLAIN_A, PLAIN_B),
        ("between nodes, mutual TLS", CLIENT_A, SERVER_B),
        ("on one node, direct", CLIENT_A, SERVER_A),
    ];
    let mut lines = vec![format!(
        "{:<27} {:>12} {:>12} {:>9} {:>9}",
        "", "one stream", "requests/s", "p50", "p99"
    )];
    for (name, from, to) in paths {
        let f = measure(world, from, to)?;
        let r = &f.requests;
        lines.push(format!(
            "{name:<27} {:>7.2} Gb/s {:>12.0} {:>6} us {:>6} us",
            f.gigabits, r.rate, r.p50_us, r.p99_us
        ));
    }
    Ok(lines)
}

fn measure(world: &World, from: Pod, to: Pod) -> Result<Figures> {
    let (source, echo) = (
        world.at(to, Ip::V4, port::SOURCE)?,
        world.at(to, Ip::V4, port::ECHO)?,
    );
    let (source, echo) = (source.to_string(), echo.to_string());
    let argv = [
        "connect",
        &source,
        "--mode",
        "source",
        "--bytes",
        &BYTES.to_string(),
    ];
    let (done, outcome): (_, Outcome) = world.peer_within(from, &argv, Duration::from_secs(60))?;
    ensure!(outcome.ok, "{from} to {to}: {done}");
    let (done, requests): (_, LoadReport) =
        world.peer(from, &["load", &echo, "--seconds", "2", "--size", "1024"])?;
    ensure!(
        requests.failed == 0 && requests.done > 100,
        "{from} to {to}: {done}"
    );
    let gigabits = BYTES as f64 * 8.0 / 1e6 / outcome.total_ms.max(1) as f64;
    Ok(Figures { gigabits, requests })
}
