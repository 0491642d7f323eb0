//! How the controller grows: it reads generated meshes of several sizes, and a client takes all of each.
//!
//! ```text
//! mesh::generate -> directory <- warren-control <== meter (counts bytes) <== warren-bench observe
//!                       ^ one pod's readiness changes                        | says when it arrived
//! ```

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::RunArgs;
use crate::process::{self, Memory};
use crate::results::{Measure, Results, Section};

mod mesh;
mod meter;
pub mod observe;
mod observer;
mod server;
mod token;
mod tunnel;

use meter::Meter;
use observer::Observer;
use server::Server;

/// Changes of one endpoint that are timed.
const CHANGES: usize = 15;

/// Runs every size that is asked for. A size that fails is noted; the others are still measured.
///
/// # Errors
/// The programs are missing.
pub fn run(bin_dir: &Path, args: &RunArgs, results: &mut Results) -> Result<()> {
    let programs = (
        process::program(bin_dir, "warren-control")?,
        process::program(bin_dir, "warren-ztunnel")?,
    );
    for &workloads in &args.workloads {
        if args.quick && workloads > 10_000 {
            results.notes.push(format!(
                "Controller: {workloads} workloads are left out of quick runs."
            ));
            continue;
        }
        match one_size((&programs.0, &programs.1), workloads) {
            Ok(measures) => results.measures.extend(measures),
            Err(error) => results.notes.push(format!(
                "Controller with {workloads} workloads: failed: {error:#}"
            )),
        }
    }
    Ok(())
}

/// istiod with 10,000 pods: seconds until it serves, and its memory in MB.
const ISTIO_10_000: (f64, f64) = (17.0, 460.0);

/// What one size showed.
struct Found {
    cold: f64,
    sync: f64,
    sync_bytes: f64,
    change_ms: Vec<f64>,
    change_bytes: Vec<f64>,
    controller: Memory,
    tunnel: Memory,
}

fn one_size((control, ztunnel): (&Path, &Path), workloads: usize) -> Result<Vec<Measure>> {
    let limit = Duration::from_secs(60 + workloads as u64 / 200);
    let dir = tempfile::tempdir().context("no directory for the controller's files")?;
    let source = dir.path().join("source");
    let changing = mesh::generate(&source, workloads)?;
    let server = Server::start(control, &source, dir.path())?;
    let cold = first_client(&server, workloads, limit)?;
    let meter = Meter::start(server.address)?;
    let mut client = Observer::start(&server, meter.address, workloads)?;
    let sync = client.synced(limit)?;
    let sync_bytes = meter.bytes() as f64;
    let (mut change_ms, mut change_bytes) = (Vec::new(), Vec::new());
    for round in 0..CHANGES {
        // What the last change still causes must not be charged to the next one.
        std::thread::sleep(Duration::from_millis(300));
        let before = meter.bytes();
        let changed_at = changing.set_ready(round % 2 == 1)?;
        let seen_at = client.updated(Duration::from_secs(60))?;
        std::thread::sleep(Duration::from_millis(50));
        change_ms.push((seen_at - changed_at) * 1e3);
        change_bytes.push((meter.bytes() - before) as f64);
    }
    drop(client);
    let controller = process::memory(server.pid())?;
    let tunnel = tunnel::memory(ztunnel, &server, dir.path(), workloads, limit)?;
    let found = Found {
        cold,
        sync,
        sync_bytes,
        change_ms,
        change_bytes,
        controller,
        tunnel,
    };
    Ok(measures(workloads, &found))
}

/// Seconds from the start of the controller until a client that was there from the beginning has everything.
fn first_client(server: &Server, workloads: usize, limit: Duration) -> Result<f64> {
    server.wait_for_root(Duration::from_secs(30))?;
    let mut client = Observer::start(server, server.address, workloads)?;
    client.synced(limit)?;
    Ok(server.age().as_secs_f64())
}

fn measures(workloads: usize, found: &Found) -> Vec<Measure> {
    let row = |what: &str, unit: &str, values: Vec<f64>| {
        let what = format!("{workloads} workloads: {what}");
        Measure::alone(Section::Controller, &what, unit, values)
    };
    let mb = |bytes: u64| vec![bytes as f64 / 1e6];
    let mut rows = vec![
        row(
            "controller's start to a client's first full sync",
            "s",
            vec![found.cold],
        ),
        row("first full sync of a further client", "s", vec![found.sync]),
        row(
            "bytes of that sync, TLS included",
            "MB",
            vec![found.sync_bytes / 1e6],
        ),
        row(
            "one endpoint's change, from the file to the client",
            "ms",
            found.change_ms.clone(),
        ),
        row(
            "bytes of one endpoint's change, TLS included",
            "B",
            found.change_bytes.clone(),
        ),
        row("controller's memory", "MB", mb(found.controller.resident)),
        row("controller's memory, peak", "MB", mb(found.controller.peak)),
        row("tunnel's memory", "MB", mb(found.tunnel.resident)),
        row("tunnel's memory, peak", "MB", mb(found.tunnel.peak)),
    ];
    if workloads == 10_000 {
        rows[0].istio = Some(ISTIO_10_000.0);
        rows[5].istio = Some(ISTIO_10_000.1);
    }
    rows
}
