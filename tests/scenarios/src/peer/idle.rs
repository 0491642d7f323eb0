//! `idle` and `leave`: many connections that say nothing, and many that go at once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::args::{Idle, Leave};
use super::dial;
use super::report::{Failure, IdleReport, LeaveReport, Outcome};

/// Opens all connections, says one byte on each, waits, then says another.
pub(crate) fn run(args: &Idle) -> IdleReport {
    let mut report = IdleReport::default();
    let mut held: Vec<TcpStream> = Vec::with_capacity(args.count);
    for _ in 0..args.count {
        match open(args) {
            Ok(stream) => held.push(stream),
            Err(failure) => {
                report
                    .error
                    .get_or_insert(format!("opening: {}", failure.kind()));
            }
        }
    }
    report.opened = held.len();
    std::thread::sleep(Duration::from_secs_f64(args.seconds));
    for stream in &mut held {
        match say(stream, b'2') {
            Ok(()) => report.alive += 1,
            Err(failure) => {
                report
                    .error
                    .get_or_insert(format!("after the wait: {}", failure.kind()));
            }
        }
    }
    report.ok = report.alive == args.count;
    report
}

/// Connects and closes, or resets, without a byte.
pub(crate) fn leave(args: &Leave) -> LeaveReport {
    let mut report = LeaveReport::default();
    for _ in 0..args.count {
        match dial::dial(&args.dial, &mut Outcome::default()) {
            Ok(socket) => {
                report.connected += 1;
                if args.reset {
                    // A linger time of zero turns close() into a reset.
                    let _ = socket.set_linger(Some(Duration::ZERO));
                }
            }
            Err(failure) => {
                report.error.get_or_insert(failure.kind());
            }
        }
    }
    report.ok = report.connected == args.count;
    report
}

fn open(args: &Idle) -> Result<TcpStream, Failure> {
    let mut stream: TcpStream = dial::dial(&args.dial, &mut Outcome::default())?.into();
    say(&mut stream, b'1')?;
    Ok(stream)
}

fn say(stream: &mut TcpStream, byte: u8) -> Result<(), Failure> {
    stream.write_all(&[byte]).map_err(Failure::at("send"))?;
    let mut back = [0];
    stream
        .read_exact(&mut back)
        .map_err(Failure::at("receive"))?;
    if back[0] == byte {
        Ok(())
    } else {
        Err(Failure::verify("another byte came back"))
    }
}
