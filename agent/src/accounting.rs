//! Accounting of direct flows, which no tunnel sees: the kernel tells when one begins and ends; metrics and log lines look like
//! the tunnel's, with `security_policy="kernel"`.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use warren_abi::{Event, EventKind, VerdictKey};

use crate::sockdiag::{Pair, pair};

mod line;
mod metrics;
mod names;

pub use metrics::{MapCollector, Metrics};
pub use names::{Names, Party, ServiceName};
pub use warren_admin::access::{Format, LogWriter};

/// TCP_SYN_SENT of the kernel: the flow never was established.
const SYN_SENT: u32 = 2;
/// Most flows remembered as ended by policy.
const MAX_REVOKED: usize = 65_536;

/// What a direct flow's end says.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The client.
    pub source: Party,
    /// The server.
    pub destination: Party,
    /// The service asked for.
    pub service: Option<ServiceName>,
    /// The policy that decided.
    pub policy: Option<Arc<str>>,
    /// Policy ended it.
    pub revoked: bool,
    /// It never was established.
    pub failed: bool,
    /// Bytes that the client sent.
    pub sent: u64,
    /// Bytes that the client received.
    pub received: u64,
    /// How long it lived, in nanoseconds.
    pub nanoseconds: u64,
    /// Smoothed round trip in microseconds.
    pub rtt_us: u32,
}

impl Flow {
    /// One word for how it ended, as the tunnel's records have it.
    pub fn flags(&self) -> &'static str {
        match (self.revoked, self.failed) {
            (true, _) => "REVOKED",
            (_, true) => "CONNECT",
            _ => "-",
        }
    }

    /// As metrics and logs write it.
    pub fn verdict(&self) -> &'static str {
        if self.revoked { "deny" } else { "allow" }
    }
}

/// Turns events into metrics and log lines.
pub struct Accounting {
    names: Arc<Names>,
    metrics: Metrics,
    log: LogWriter,
    revoked: Arc<Revoked>,
    /// Lines so far.
    count: u64,
    /// Lines of this batch.
    lines: String,
}

/// Flows that policy ended and whose last event has not been seen.
#[derive(Debug, Default)]
pub struct Revoked(Mutex<HashSet<Pair>>);

impl Revoked {
    /// Remembers flows; beyond a limit all are forgotten rather than kept for ever.
    pub fn add(&self, pairs: &HashSet<Pair>) {
        let mut all = self.0.lock();
        if all.len() + pairs.len() > MAX_REVOKED {
            all.clear();
        }
        all.extend(pairs);
    }

    fn take(&self, pair: &Pair) -> bool {
        self.0.lock().remove(pair)
    }
}

impl Accounting {
    /// Nothing seen yet.
    pub fn new(names: Arc<Names>, metrics: Metrics, log: LogWriter, revoked: Arc<Revoked>) -> Self {
        Self {
            names,
            metrics,
            log,
            revoked,
            count: 0,
            lines: String::new(),
        }
    }

    /// Takes events in; returns the questions among them, each once.
    pub fn take(&mut self, events: &[Event]) -> Vec<VerdictKey> {
        let mut wanted = Vec::new();
        for event in events {
            match event.kind {
                k if k == EventKind::VerdictWanted as u32 => {
                    if !wanted.contains(&event.question) {
                        wanted.push(event.question);
                    }
                }
                // A flow is counted when it ends, so that it costs one event; live ones have a gauge.
                k if k == EventKind::DirectClose as u32 => self.closed(event),
                kind => {
                    tracing::warn!(kind, "the kernel programs sent an event of an unknown kind")
                }
            }
        }
        if !self.lines.is_empty() {
            self.log.lines(std::mem::take(&mut self.lines));
        }
        wanted
    }

    fn closed(&mut self, event: &Event) {
        let (client, server) = ends(event);
        if self.names.end_trial(server) {
            return;
        }
        let revoked = self.revoked.take(&(client, server));
        let flow = self.flow(event, revoked);
        self.metrics.ended(&flow, self.names.version());
        self.count += 1;
        let format = self.log.format;
        if revoked {
            let number = self.metrics.denied();
            line::denial(&mut self.lines, &flow, self.count, number, format);
        }
        if format != Format::Off {
            line::access(&mut self.lines, &flow, self.count, format);
        }
    }

    fn flow(&self, event: &Event, revoked: bool) -> Flow {
        let (client, server) = ends(event);
        Flow {
            source: self.names.party(event.question.source, client),
            destination: self.names.party(event.question.destination, server),
            service: self.names.service(event.service),
            policy: self.names.policy(&event.question),
            revoked,
            failed: event.old_state == SYN_SENT,
            sent: event.bytes_sent,
            received: event.bytes_received,
            nanoseconds: event.end_ns.saturating_sub(event.start_ns),
            rtt_us: event.rtt_us,
        }
    }
}

fn ends(event: &Event) -> (SocketAddr, SocketAddr) {
    let flow = &event.flow;
    let (client, server): (IpAddr, IpAddr) = (flow.client.into(), flow.server.into());
    pair((client, flow.client_port), (server, flow.server_port))
}
