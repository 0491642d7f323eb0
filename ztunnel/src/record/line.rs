//! Lines of the access and denial logs, as text and as JSON.

use std::fmt::Write;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use warren_core::policy::{Audit, PolicyKey};

use super::info::{Direction, End, Party, Reporter, Security};
use super::registry::Live;
use super::writer::Format;

/// A line under construction: ordered keys.
pub(super) struct Line(Vec<(&'static str, Value)>);

impl Line {
    /// The end of a connection.
    pub(super) fn access(live: &Live, end: &End) -> Self {
        let (up, down) = live.counters.read();
        // `up` is what the local socket said: the client's bytes on its own side, the server's on the other.
        let (sent, received) = match live.info.direction {
            Direction::Outbound => (up, down),
            Direction::Inbound | Direction::Plaintext => (down, up),
        };
        let mut line = Self::head("access", live);
        line.push("bytes_sent", json!(sent));
        line.push("bytes_received", json!(received));
        line.push("duration_ms", json!(duration_ms(live)));
        line.push("flags", json!(end.flag.label()));
        if let Some(e) = &end.error {
            line.push("error", json!(e));
        }
        line
    }

    /// A denial with its number: numbers without gaps mean that no line was lost.
    pub(super) fn denial(live: &Live, number: u64) -> Self {
        let mut line = Self::head("denial", live);
        line.0.insert(1, ("denial", json!(number)));
        line.push("reason", json!(live.verdict().reason));
        line
    }

    /// A policy that only reports has matched.
    pub(super) fn audit(live: &Live, policy: &PolicyKey, kind: Audit) -> Self {
        let mut line = Self::head("audit", live);
        line.push("audit_policy", json!(policy.to_string()));
        line.push(
            "audit_kind",
            json!(match kind {
                Audit::DryRun => "dry_run",
                Audit::Audit => "audit",
            }),
        );
        line
    }

    /// Appends the line with the time `at` to `out`, without a line end.
    pub(super) fn render(&self, out: &mut String, format: Format, at: SystemTime) {
        let at = OffsetDateTime::from(at)
            .format(&Rfc3339)
            .unwrap_or_default();
        match format {
            Format::Json => {
                let mut map = Map::new();
                map.insert("time".into(), json!(at));
                map.extend(self.0.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
                out.push_str(&Value::Object(map).to_string());
            }
            Format::Text | Format::Off => {
                out.push_str(&at);
                for (i, (key, value)) in self.0.iter().enumerate() {
                    match (i, value) {
                        (0, Value::String(kind)) => drop(write!(out, " {kind}")),
                        (_, Value::String(s)) if plain(s) => drop(write!(out, " {key}={s}")),
                        (_, v) => drop(write!(out, " {key}={v}")),
                    }
                }
            }
        }
    }

    fn head(kind: &'static str, live: &Live) -> Self {
        let info = &live.info;
        let mut line = Self(Vec::with_capacity(24));
        line.push("type", json!(kind));
        line.push("connection", json!(live.id));
        line.push("reporter", json!(reporter(info.reporter())));
        line.party(
            ["source", "source_workload", "source_identity"],
            &info.source,
        );
        line.party(
            [
                "destination",
                "destination_workload",
                "destination_identity",
            ],
            &info.destination,
        );
        if let Some(original) = info.original {
            line.push("original_destination", json!(original.to_string()));
        }
        if let Some(service) = &info.service {
            line.push("service", json!(service.to_string()));
        }
        line.push("security", json!(security(info.security)));
        line.push("verdict", json!(live.verdict().label()));
        if let Some(policy) = &live.verdict().policy {
            line.push("policy", json!(policy.to_string()));
        }
        line
    }

    fn party(&mut self, [address, workload, identity]: [&'static str; 3], party: &Party) {
        self.push(address, json!(party.address.to_string()));
        if let Some(w) = &party.workload {
            self.push(workload, json!(format!("{}/{}", w.namespace, w.name)));
        }
        if let Some(id) = &party.identity {
            self.push(identity, json!(id.to_string()));
        }
    }

    fn push(&mut self, key: &'static str, value: Value) {
        self.0.push((key, value));
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

/// Whether a text value needs no quotes.
fn plain(s: &str) -> bool {
    !s.is_empty()
        && s.bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=')
}
