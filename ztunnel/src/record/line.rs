//! Lines of the access, denial and audit logs.

use std::time::SystemTime;

use serde_json::json;
use warren_admin::access;
use warren_core::policy::{Audit, PolicyKey};

use super::Format;
use super::info::{Direction, End, Party, Reporter, Security};
use super::registry::Live;

/// What a line is about.
enum Kind<'a> {
    Access(&'a End),
    Denial(u64),
    Audit(&'a PolicyKey, Audit),
}

/// A line to be written.
pub(super) struct Line<'a> {
    kind: Kind<'a>,
    live: &'a Live,
}

impl<'a> Line<'a> {
    /// The end of a connection.
    pub(super) fn access(live: &'a Live, end: &'a End) -> Self {
        let kind = Kind::Access(end);
        Self { kind, live }
    }

    /// A denial with its number: numbers without gaps mean that no line was lost.
    pub(super) fn denial(live: &'a Live, number: u64) -> Self {
        let kind = Kind::Denial(number);
        Self { kind, live }
    }

    /// A policy that only reports has matched.
    pub(super) fn audit(live: &'a Live, policy: &'a PolicyKey, kind: Audit) -> Self {
        let kind = Kind::Audit(policy, kind);
        Self { kind, live }
    }

    /// Appends the line with the time `at` to `out`, without a line end.
    pub(super) fn render(&self, out: &mut String, format: Format, at: SystemTime) {
        let kind = match self.kind {
            Kind::Access(_) => "access",
            Kind::Denial(_) => "denial",
            Kind::Audit(..) => "audit",
        };
        let mut line = access::Line::begin(out, format, kind, at);
        if let Kind::Denial(number) = self.kind {
            line.number("denial", number);
        }
        head(&mut line, self.live);
        match self.kind {
            Kind::Access(end) => ended(&mut line, self.live, end),
            Kind::Denial(_) => line.text("reason", &self.live.verdict().reason),
            Kind::Audit(policy, audit) => {
                line.text("audit_policy", policy);
                line.text(
                    "audit_kind",
                    match audit {
                        Audit::DryRun => "dry_run",
                        Audit::Audit => "audit",
                    },
                );
            }
        }
        line.finish();
    }
}

fn head(line: &mut access::Line<'_>, live: &Live) {
    let info = &live.info;
    line.number("connection", live.id);
    line.text("reporter", reporter(info.reporter()));
    let mut end = |keys, party: &Party| {
        let workload = party.workload.as_deref();
        line.end_of(keys, party.address, workload, party.identity.as_ref());
    };
    end(
        ["source", "source_workload", "source_identity"],
        &info.source,
    );
    end(
        [
            "destination",
            "destination_workload",
            "destination_identity",
        ],
        &info.destination,
    );
    if let Some(original) = info.original {
        line.text("original_destination", original);
    }
    if let Some(service) = &info.service {
        line.text("service", service);
    }
    line.text("security", security(info.security));
    line.text("verdict", live.verdict().label());
    if let Some(policy) = &live.verdict().policy {
        line.text("policy", policy);
    }
}

fn ended(line: &mut access::Line<'_>, live: &Live, end: &End) {
    let (up, down) = live.counters.read();
    // `up` is what the local socket said: the client's bytes on its own side, the server's on the other.
    let (sent, received) = match live.info.direction {
        Direction::Outbound => (up, down),
        Direction::Inbound | Direction::Plaintext => (down, up),
    };
    line.number("bytes_sent", sent);
    line.number("bytes_received", received);
    line.number("duration_ms", json!(duration_ms(live)));
    line.text("flags", end.flag.label());
    if let Some(e) = &end.error {
        line.text("error", e);
    }
}

/// As metrics and logs write it.
pub(super) fn reporter(r: Reporter) -> &'static str {
    match r {
        Reporter::Source => "source",
        Reporter::Destination => "destination",
    }
}

/// As metrics and logs write it.
pub(super) fn security(s: Security) -> &'static str {
    match s {
        Security::MutualTls => "mutual_tls",
        Security::None => "none",
        Security::Kernel => "kernel",
    }
}

/// Milliseconds with three digits.
fn duration_ms(live: &Live) -> f64 {
    live.started.elapsed().as_micros() as f64 / 1000.0
}
