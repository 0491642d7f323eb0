//! Bytes a second into the sink, counted where they arrive.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::client::connect;
use super::report::Report;
use super::server::SINK;

const WRITE: usize = 128 * 1024;

/// `streams` threads send for `length`; the time counts until the sink has confirmed the last byte.
pub fn throughput(target: SocketAddr, streams: usize, length: Duration) -> Report {
    let start = Instant::now();
    let senders: Vec<_> = (0..streams)
        .map(|_| thread::spawn(move || sender(target, start + length)))
        .collect();
    let (mut bytes, mut count, mut errors) = (0, 0, 0);
    for sender in senders {
        match sender.join() {
            Ok(Ok(arrived)) => {
                bytes += arrived;
                count += 1;
            }
            _ => errors += 1,
        }
    }
    Report {
        seconds: start.elapsed().as_secs_f64(),
        bytes,
        count,
        served: count,
        errors,
        latency: None,
    }
}

fn sender(target: SocketAddr, deadline: Instant) -> io::Result<u64> {
    let mut stream = connect(target)?;
    stream.write_all(SINK)?;
    let data = vec![0x5a; WRITE];
    while Instant::now() < deadline {
        stream.write_all(&data)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    Ok(u64::from_be_bytes(arrived))
}
