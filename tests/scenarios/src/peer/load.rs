//! `load`: closed-loop requests to an echo server, on kept or fresh connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::args::Load;
use super::dial;
use super::report::{Failure, LoadReport, Outcome};

const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Runs the workers and puts their figures together.
pub(crate) fn run(args: &Load) -> LoadReport {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(args.seconds);
    let results: Vec<(Vec<u64>, Vec<String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.workers)
            .map(|_| scope.spawn(|| worker(args, end)))
            .collect();
        workers.into_iter().filter_map(|w| w.join().ok()).collect()
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let mut report = LoadReport::default();
    let mut times = Vec::new();
    for (done, failed) in results {
        times.extend(done);
        for kind in failed {
            report.failed += 1;
            *report.failures.entry(kind).or_default() += 1;
        }
    }
    times.sort_unstable();
    report.done = times.len() as u64;
    report.rate = report.done as f64 / elapsed;
    report.p50_us = percentile(&times, 0.50);
    report.p99_us = percentile(&times, 0.99);
    report.max_us = times.last().copied().unwrap_or_default();
    report
}

fn percentile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

fn worker(args: &Load, end: Instant) -> (Vec<u64>, Vec<String>) {
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    let mut kept: Option<TcpStream> = None;
    let mut buffer = vec![0x5a; args.size];
    while Instant::now() < end {
        let begin = Instant::now();
        match request(args, &mut kept, &mut buffer) {
            Ok(()) => times.push(begin.elapsed().as_micros() as u64),
            Err(failure) => {
                failures.push(failure.kind());
                kept = None;
                std::thread::sleep(PAUSE_AFTER_FAILURE);
            }
        }
        if args.fresh {
            kept = None;
        }
    }
    (times, failures)
}

fn request(args: &Load, kept: &mut Option<TcpStream>, buffer: &mut [u8]) -> Result<(), Failure> {
    let stream = match kept {
        Some(stream) => stream,
        None => kept.insert(dial::dial(&args.dial, &mut Outcome::default())?.into()),
    };
    stream.write_all(buffer).map_err(Failure::at("send"))?;
    stream.read_exact(buffer).map_err(Failure::at("receive"))
}
