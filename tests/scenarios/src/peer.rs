//! A TCP server and client whose every step can be asked for and is reported as JSON, one object a line.

mod args;
mod datagram;
mod dial;
mod idle;
mod load;
mod pattern;
mod raw;
mod report;
mod serve;
mod spread;
mod stream;
mod transfer;

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

pub use args::{Dial, Family, Leave, Mode};
pub use report::{
    Connection, Greeting, IdleReport, LeaveReport, LoadReport, Outcome, Ready, SpreadReport,
    StreamReport,
};

/// Runs the command line of `warren-peer`. Exit status: 0 where everything held, 1 where something did not, 2 for bad arguments.
pub fn main() -> ExitCode {
    let args: args::Args = match warren_arguments::parse() {
        Ok(args) => args,
        Err(status) => return status,
    };
    let ok = match args.command {
        args::Command::Serve(serve) => match serve::run(&serve) {
            Ok(()) => true,
            Err(error) => {
                eprintln!("warren-peer: {error:#}");
                false
            }
        },
        args::Command::Connect(connect) => print(&transfer::run(&connect), |r| r.ok),
        args::Command::Stream(stream) => print(&stream::run(&stream), |r| r.ok),
        args::Command::Idle(idle) => print(&idle::run(&idle), |r| r.ok),
        args::Command::Leave(leave) => print(&idle::leave(&leave), |r| r.ok),
        args::Command::Load(load) => print(&load::run(&load), |r| r.failed == 0 && r.done > 0),
        args::Command::Spread(spread) => print(&spread::run(&spread), |r| r.ok),
        args::Command::Udp(udp) => print(&datagram::udp(&udp), |r| r.ok),
        args::Command::Ping(ping) => print(&datagram::ping(&ping), |r| r.ok),
        args::Command::Addrs => print(&datagram::addresses(), |a| !a.is_empty()),
    };
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Writes one JSON line to standard output; a reader that went away is no error.
pub(crate) fn line<T: Serialize>(value: &T) {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

fn print<T: Serialize>(value: &T, ok: impl Fn(&T) -> bool) -> bool {
    line(value);
    ok(value)
}
