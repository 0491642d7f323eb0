//! A closed loop: each connection sends its next request when the last one was answered.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{KeepAlive, until};
use super::epoll::{Poller, Ready};
use super::http;
use super::report::{Report, Samples};

/// Keeps `connections` connections busy for `length`, after a tenth of it to warm up.
///
/// # Errors
/// A connection could not be made, or failed.
pub fn closed(
    target: SocketAddr,
    connections: usize,
    size: usize,
    length: Duration,
) -> io::Result<Report> {
    let mut poller = Poller::new()?;
    let mut open = KeepAlive::open_many(target, connections, &poller)?;
    let request = http::get(size, false);
    let mut buffer = vec![0; 64 * 1024];
    let measure_from = Instant::now() + length / 10;
    let deadline = measure_from + length;
    let mut sent = Vec::with_capacity(open.len());
    for connection in &mut open {
        sent.push(Instant::now());
        connection.send(&request)?;
    }
    let mut samples = Samples::default();
    let (mut count, mut served) = (0, 0);
    while !until(deadline).is_zero() {
        let ready: Vec<Ready> = poller.wait(until(deadline))?.collect();
        for event in ready {
            let index = event.token as usize;
            if open[index].receive(&mut buffer)? == 0 {
                continue;
            }
            let now = Instant::now();
            if sent[index] >= measure_from {
                samples.push(now - sent[index]);
            }
            served += 1;
            count += u64::from(now >= measure_from && now < deadline);
            sent[index] = now;
            open[index].send(&request)?;
        }
    }
    Ok(Report {
        seconds: length.as_secs_f64(),
        count,
        served,
        latency: samples.latency(),
        ..Report::default()
    })
}
