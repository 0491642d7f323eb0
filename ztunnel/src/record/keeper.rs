//! The task that turns what happens to connections into metrics and log lines, away from the data path.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::info::End;
use super::line::Line;
use super::metrics::Metrics;
use super::registry::{Event, Live, Registry};
use super::writer::{Format, LogWriter};

/// Reads the registry's events.
pub struct Keeper {
    events: mpsc::Receiver<Event>,
    metrics: Metrics,
    log: LogWriter,
    denials: u64,
}

impl Keeper {
    /// Makes a registry and its keeper.
    pub fn new(metrics: Metrics, log: LogWriter) -> (Arc<Registry>, Self) {
        let (registry, events) = Registry::new();
        (
            registry,
            Self {
                events,
                metrics,
                log,
                denials: 0,
            },
        )
    }

    /// Runs until the registry is gone.
    pub async fn run(mut self) {
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Decided(live) => self.decided(&live),
                Event::Revoked(live) => self.denied(&live),
                Event::Ended(live, end) => self.ended(&live, &end),
            }
        }
    }

    fn decided(&mut self, live: &Live) {
        for (policy, kind) in &live.info.verdict.audited {
            self.write(&Line::audit(live, policy, *kind));
        }
        if live.info.verdict.allowed == Some(false) {
            self.denied(live);
        }
    }

    fn denied(&mut self, live: &Live) {
        self.denials += 1;
        self.metrics.denials.inc();
        self.write(&Line::denial(live, self.denials));
    }

    fn ended(&mut self, live: &Live, end: &End) {
        self.metrics.ended(live, end);
        if self.log.format != Format::Off {
            self.write(&Line::access(live, end));
        }
    }

    fn write(&self, line: &Line) {
        self.log
            .line(line.render(self.log.format, SystemTime::now()));
    }
}
