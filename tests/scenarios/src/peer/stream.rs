//! `stream`: one connection kept busy with small numbered messages, so that a gap or a reset is seen when it happens.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::args::Stream;
use super::dial;
use super::report::{Failure, Outcome, Ready, StreamReport};

const MESSAGE: usize = 128;
const FAILURES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Runs the command: a `ready` line after the first answer, the report at the end.
pub(crate) fn run(args: &Stream) -> StreamReport {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(args.seconds);
    let mut run = Run {
        args,
        end,
        number: 0,
        last: begin,
        ready: false,
        report: StreamReport::default(),
    };
    while Instant::now() < end {
        run.report.connections += 1;
        if let Err(failure) = run.connection() {
            run.report
                .first_loss_ms
                .get_or_insert(begin.elapsed().as_millis() as u64);
            if run.report.failures.len() < FAILURES {
                run.report
                    .failures
                    .push(format!("{} ({})", failure.kind(), failure.error));
            }
            if !args.reconnect {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    run.gap();
    run.report.ok = run.report.failures.is_empty() && run.report.messages > 0;
    run.report
}

struct Run<'a> {
    args: &'a Stream,
    end: Instant,
    number: u64,
    last: Instant,
    ready: bool,
    report: StreamReport,
}

impl Run<'_> {
    fn connection(&mut self) -> Result<(), Failure> {
        let mut stream: TcpStream = dial::dial(&self.args.dial, &mut Outcome::default())?.into();
        while Instant::now() < self.end {
            self.message(&mut stream)?;
            if !self.ready {
                self.ready = true;
                let local = stream.local_addr().ok();
                super::line(&Ready {
                    ready: true,
                    ports: Vec::new(),
                    local,
                });
            }
            std::thread::sleep(Duration::from_millis(self.args.interval_ms));
        }
        Ok(())
    }

    fn message(&mut self, stream: &mut TcpStream) -> Result<(), Failure> {
        self.number += 1;
        let text = self.args.text.as_deref().unwrap_or("message");
        let mut out = format!("{:08} {text} ", self.number).into_bytes();
        out.resize(MESSAGE, b'.');
        stream.write_all(&out).map_err(Failure::at("send"))?;
        let mut back = [0; MESSAGE];
        stream
            .read_exact(&mut back)
            .map_err(Failure::at("receive"))?;
        if back[..] != out[..] {
            return Err(Failure::verify(format!(
                "message {} came back changed",
                self.number
            )));
        }
        self.gap();
        self.last = Instant::now();
        self.report.messages += 1;
        Ok(())
    }

    fn gap(&mut self) {
        let gap = self.last.elapsed().as_millis() as u64;
        self.report.max_gap_ms = self.report.max_gap_ms.max(gap);
    }
}
