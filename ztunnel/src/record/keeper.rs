//! The task that turns what happens to connections into metrics and log lines, away from the data path.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::info::End;
use super::line::Line;
use super::metrics::Metrics;
use super::registry::{Event, Live, Registry};
use super::{Format, LogWriter};

/// Events taken at once.
const BATCH: usize = 1024;
/// How late a line may be.
const PAUSE: Duration = Duration::from_millis(20);

/// Reads the registry's events.
pub struct Keeper {
    events: mpsc::Receiver<Event>,
    metrics: Metrics,
    log: LogWriter,
    /// Lines of this batch.
    lines: String,
}

impl Keeper {
    /// Makes a registry and its keeper.
    pub fn new(metrics: Metrics, log: LogWriter) -> (Arc<Registry>, Self) {
        let (registry, events) = Registry::new(metrics.denials.clone(), log.lost());
        (
            registry,
            Self {
                events,
                metrics,
                log,
                lines: String::new(),
            },
        )
    }

    /// Runs until the registry is gone. Between two looks at the queue it sleeps, so that connections that come and go
    /// quickly do not each wake this task, and their lines are written together.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.events.recv_many(&mut batch, BATCH).await > 0 {
            for event in batch.drain(..) {
                match event {
                    Event::Audited(live) => self.audited(&live),
                    Event::Denied(live, number) => self.write(&Line::denial(&live, number)),
                    Event::Ended(live, end) => self.ended(&live, &end),
                }
            }
            if !self.lines.is_empty() {
                self.log.lines(std::mem::take(&mut self.lines));
            }
            sleep(PAUSE).await;
        }
    }

    fn audited(&mut self, live: &Live) {
        for (policy, kind) in &live.info.verdict.audited {
            self.write(&Line::audit(live, policy, *kind));
        }
    }

    fn ended(&mut self, live: &Live, end: &End) {
        self.metrics.ended(live, end);
        if self.log.format != Format::Off {
            self.write(&Line::access(live, end));
        }
    }

    fn write(&mut self, line: &Line) {
        line.render(&mut self.lines, self.log.format, SystemTime::now());
        self.lines.push('\n');
    }
}
