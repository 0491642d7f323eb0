//! Log lines of direct flows, with the keys of the tunnel's. Written straight into one string: there may be thousands a second.

use std::fmt::{Display, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Flow, Format, Party};

/// The end of a flow; `id` is unique in this process.
pub fn access(flow: &Flow, id: u64, format: Format) -> String {
    let mut line = Line::begin(format, "access");
    head(&mut line, flow, id);
    line.number("bytes_sent", flow.sent);
    line.number("bytes_received", flow.received);
    line.number("duration_ms", (flow.nanoseconds / 1000) as f64 / 1000.0);
    line.number("rtt_us", flow.rtt_us);
    line.text("flags", flow.flags());
    if flow.revoked {
        line.text("error", "a change of policy denies it");
    }
    line.end()
}

/// Policy ended a flow; numbers without gaps mean that no line was lost.
pub fn denial(flow: &Flow, id: u64, number: u64, format: Format) -> String {
    let mut line = Line::begin(format, "denial");
    line.number("denial", number);
    head(&mut line, flow, id);
    line.text("reason", "a change of policy denies it");
    line.end()
}

fn head(line: &mut Line, flow: &Flow, id: u64) {
    line.number("connection", id);
    line.text("reporter", "source");
    line.party(
        ["source", "source_workload", "source_identity"],
        &flow.source,
    );
    line.party(
        [
            "destination",
            "destination_workload",
            "destination_identity",
        ],
        &flow.destination,
    );
    if let Some(service) = &flow.service {
        line.text("service", &service.name);
    }
    line.text("security", "kernel");
    line.text("verdict", flow.verdict());
    if let Some(policy) = &flow.policy {
        line.text("policy", policy);
    }
}

/// A line under construction.
struct Line {
    json: bool,
    out: String,
}

impl Line {
    fn begin(format: Format, kind: &str) -> Self {
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        let json = format == Format::Json;
        let mut out = String::with_capacity(512);
        // Writing to a string does not fail; the same below.
        let _ = if json {
            write!(out, r#"{{"time":"{now}","type":"{kind}""#)
        } else {
            write!(out, "{now} {kind}")
        };
        Self { json, out }
    }

    fn number(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let start = self.out.len();
        let _ = write!(self.out, "{value}");
        let plain = plain(&self.out[start..]);
        match (plain, self.json) {
            (true, false) => {}
            (true, true) => {
                self.out.insert(start, '"');
                self.out.push('"');
            }
            (false, _) => {
                let raw = self.out.split_off(start);
                self.out
                    .push_str(&serde_json::to_string(&raw).unwrap_or_default());
            }
        }
    }

    fn party(&mut self, [address, workload, identity]: [&str; 3], party: &Party) {
        self.text(address, party.address);
        if let Some(w) = &party.workload {
            self.text(workload, format_args!("{}/{}", w.namespace, w.name));
            self.text(identity, w.identity());
        }
    }

    fn key(&mut self, key: &str) {
        let _ = if self.json {
            write!(self.out, r#","{key}":"#)
        } else {
            write!(self.out, " {key}=")
        };
    }

    fn end(mut self) -> String {
        if self.json {
            self.out.push('}');
        }
        self.out
    }
}

/// Whether a text value needs no quotes.
fn plain(s: &str) -> bool {
    !s.is_empty()
        && s.bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'=' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn flow() -> Flow {
        let party = |a: &str| Party {
            number: 1,
            address: a.parse().unwrap(),
            workload: None,
        };
        Flow {
            source: party("10.0.0.1:40000"),
            destination: party("[fd00::2]:80"),
            service: None,
            policy: Some("shop/allow-web".into()),
            revoked: false,
            failed: false,
            sent: 3,
            received: 5,
            nanoseconds: 1_500_000,
            rtt_us: 20,
        }
    }

    #[test]
    fn text_and_json_say_the_same() {
        let text = access(&flow(), 1, Format::Text);
        assert!(
            text.contains(" access connection=1 reporter=source source=10.0.0.1:40000 "),
            "{text}"
        );
        assert!(
            text.ends_with("bytes_sent=3 bytes_received=5 duration_ms=1.5 rtt_us=20 flags=-"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&access(&flow(), 1, Format::Json)).unwrap();
        assert_eq!(json["security"], "kernel");
        assert_eq!(json["policy"], "shop/allow-web");
        assert_eq!(json["duration_ms"], 1.5);
        assert_eq!(json["type"], "access");
    }

    #[test]
    fn what_policy_ended_says_so() {
        let flow = Flow {
            revoked: true,
            ..flow()
        };
        assert!(access(&flow, 1, Format::Text).contains("verdict=deny"));
        let denied = denial(&flow, 1, 4, Format::Text);
        assert!(
            denied.contains(" denial denial=4 ")
                && denied.ends_with(r#"reason="a change of policy denies it""#),
            "{denied}"
        );
    }

    #[test]
    fn odd_names_cannot_forge_a_line() {
        let flow = Flow {
            policy: Some("a b\" verdict=allow\n".into()),
            ..flow()
        };
        let text = access(&flow, 1, Format::Text);
        assert!(
            text.contains(r#" policy="a b\" verdict=allow\n" "#),
            "{text}"
        );
        let json: Value = serde_json::from_str(&access(&flow, 1, Format::Json)).unwrap();
        assert_eq!(json["policy"], "a b\" verdict=allow\n");
    }
}
