//! Requests at a fixed rate. Each has a time when it is due, and its latency counts from then, sent late or not: a stall
//! is charged to every request that it held up, not to one alone.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{KeepAlive, until};
use super::epoll::{Poller, Ready, precise_timers};
use super::http;
use super::report::{Report, Samples};

/// How long answers may take after the last request was sent.
const TAIL: Duration = Duration::from_secs(5);

/// Sends `rate` requests a second for `length`, in turn over `connections` connections. Requests without an answer by 5 s
/// after the end are errors. The first tenth second warms up and is not counted.
///
/// # Errors
/// A connection could not be made, or failed.
pub fn paced(
    target: SocketAddr,
    rate: u32,
    connections: usize,
    size: usize,
    length: Duration,
) -> io::Result<Report> {
    precise_timers();
    let mut poller = Poller::new()?;
    let open = KeepAlive::open_many(target, connections, &poller)?;
    let mut run = Run {
        waiting: vec![VecDeque::new(); open.len()],
        open,
        request: http::get(size, false),
        buffer: vec![0; 64 * 1024],
        samples: Samples::default(),
        answered: 0,
    };
    let interval = Duration::from_secs(1) / rate.max(1);
    let warm = rate / 10;
    let total = warm + (f64::from(rate) * length.as_secs_f64()) as u32;
    let start = Instant::now() + Duration::from_millis(10);
    let counted_from = start + interval * warm;
    for i in 0..total {
        let due = start + interval * i;
        while !until(due).is_zero() {
            run.receive(&mut poller, until(due), counted_from)?;
        }
        run.send(i as usize % connections, due)?;
    }
    let deadline = Instant::now() + TAIL;
    while run.answered < u64::from(total - warm) && !until(deadline).is_zero() {
        run.receive(&mut poller, until(deadline), counted_from)?;
    }
    let errors = u64::from(total - warm) - run.answered;
    let (count, latency) = (run.answered, run.samples.latency());
    Ok(Report {
        seconds: length.as_secs_f64(),
        bytes: 0,
        count,
        served: u64::from(total) - errors,
        errors,
        latency,
    })
}

struct Run {
    open: Vec<KeepAlive>,
    /// When the unanswered requests of each connection were due.
    waiting: Vec<VecDeque<Instant>>,
    request: Vec<u8>,
    buffer: Vec<u8>,
    samples: Samples,
    answered: u64,
}

impl Run {
    fn send(&mut self, index: usize, due: Instant) -> io::Result<()> {
        self.waiting[index].push_back(due);
        self.open[index].send(&self.request)
    }

    fn receive(
        &mut self,
        poller: &mut Poller,
        limit: Duration,
        counted_from: Instant,
    ) -> io::Result<()> {
        let ready: Vec<Ready> = poller.wait(limit)?.collect();
        for event in ready {
            let index = event.token as usize;
            let answers = self.open[index].receive(&mut self.buffer)?;
            let now = Instant::now();
            let waiting = &mut self.waiting[index];
            for due in waiting.drain(..answers.min(waiting.len())) {
                if due >= counted_from {
                    self.samples.push(now - due);
                    self.answered += 1;
                }
            }
        }
        Ok(())
    }
}
