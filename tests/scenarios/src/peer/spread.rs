//! `spread`: which servers answer behind one address.

use std::net::TcpStream;

use super::args::Spread;
use super::dial;
use super::report::{Failure, Greeting, Outcome, SpreadReport};
use super::transfer::read_line;

/// Connects again and again to a port in `greet` mode and counts the servers by their own address.
pub(crate) fn run(args: &Spread) -> SpreadReport {
    let mut report = SpreadReport::default();
    for _ in 0..args.count {
        match greeting(args) {
            Ok(greeting) => *report.servers.entry(greeting.local.ip()).or_default() += 1,
            Err(failure) => {
                report.error.get_or_insert(failure.kind());
            }
        }
    }
    report.ok = report.error.is_none();
    report
}

fn greeting(args: &Spread) -> Result<Greeting, Failure> {
    let mut stream: TcpStream = dial::dial(&args.dial, &mut Outcome::default())?.into();
    let line = read_line(&mut stream).map_err(Failure::at("receive"))?;
    serde_json::from_str(&line).map_err(|e| Failure::verify(format!("greeting: {e}")))
}
