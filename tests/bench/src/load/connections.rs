//! New connections, one request each. The server closes first, so that the client's ports are free at once.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{connect, exchange};
use super::http;
use super::report::{Report, Samples};

/// `concurrency` threads connect, ask for `size` bytes, read to the end and close, for `length`. The latency is that of
/// the whole connection.
pub fn connections(
    target: SocketAddr,
    concurrency: usize,
    size: usize,
    length: Duration,
) -> Report {
    let start = Instant::now();
    let deadline = start + length;
    let workers: Vec<_> = (0..concurrency)
        .map(|_| thread::spawn(move || worker(target, size, deadline)))
        .collect();
    let (mut count, mut errors, mut samples) = (0, 0, Samples::default());
    for worker in workers {
        let Ok((times, failed)) = worker.join() else {
            continue;
        };
        count += times.len() as u64;
        errors += failed;
        times.into_iter().for_each(|t| samples.push(t));
    }
    Report {
        seconds: start.elapsed().as_secs_f64(),
        bytes: 0,
        count,
        served: count,
        errors,
        latency: samples.latency(),
    }
}

fn worker(target: SocketAddr, size: usize, deadline: Instant) -> (Vec<Duration>, u64) {
    let request = http::get(size, true);
    let mut buffer = vec![0; 4096 + size];
    let (mut times, mut errors) = (Vec::new(), 0);
    loop {
        let begin = Instant::now();
        if begin >= deadline {
            return (times, errors);
        }
        match once(target, &request, &mut buffer) {
            Ok(()) => times.push(begin.elapsed()),
            Err(_) => {
                errors += 1;
                // A refused connection costs nothing: without a pause, errors would crowd out what is measured.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn once(target: SocketAddr, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    let mut stream = connect(target)?;
    exchange(&mut stream, request, buffer)?;
    while stream.read(buffer)? > 0 {}
    Ok(())
}
