//! Log lines of direct flows, with the keys of the tunnel's.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Flow, Format, Party};

/// A line under construction: ordered keys.
pub struct Line(Vec<(&'static str, Value)>);

/// The end of a flow; `id` is unique in this process.
pub fn access(flow: &Flow, id: u64) -> Line {
    let mut line = head("access", flow, id);
    line.push("bytes_sent", json!(flow.sent));
    line.push("bytes_received", json!(flow.received));
    line.push(
        "duration_ms",
        json!((flow.nanoseconds / 1000) as f64 / 1000.0),
    );
    line.push("rtt_us", json!(flow.rtt_us));
    line.push("flags", json!(flow.flags()));
    if flow.revoked {
        line.push("error", json!("a change of policy denies it"));
    }
    line
}

/// Policy ended a flow; numbers without gaps mean that no line was lost.
pub fn denial(flow: &Flow, id: u64, number: u64) -> Line {
    let mut line = head("denial", flow, id);
    line.0.insert(1, ("denial", json!(number)));
    line.push("reason", json!("a change of policy denies it"));
    line
}

fn head(kind: &'static str, flow: &Flow, id: u64) -> Line {
    let mut line = Line(Vec::with_capacity(20));
    line.push("type", json!(kind));
    line.push("connection", json!(id));
    line.push("reporter", json!("source"));
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
    if let Some((service, _)) = &flow.service {
        line.push("service", json!(service));
    }
    line.push("security", json!("kernel"));
    line.push("verdict", json!(flow.verdict()));
    if let Some(policy) = &flow.policy {
        line.push("policy", json!(policy));
    }
    line
}

impl Line {
    /// Writes the line, without a line end.
    pub fn render(&self, format: Format) -> String {
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        if format == Format::Json {
            let mut map = Map::from_iter([("time".to_owned(), json!(now))]);
            map.extend(self.0.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
            return Value::Object(map).to_string();
        }
        let mut out = now;
        for (i, (key, value)) in self.0.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = match value {
                Value::String(kind) if i == 0 => write!(out, " {kind}"),
                Value::String(s) if plain(s) => write!(out, " {key}={s}"),
                v => write!(out, " {key}={v}"),
            };
        }
        out
    }

    fn party(&mut self, [address, workload, identity]: [&'static str; 3], party: &Party) {
        self.push(address, json!(party.address.to_string()));
        if let Some(w) = &party.workload {
            self.push(workload, json!(format!("{}/{}", w.namespace, w.name)));
            self.push(identity, json!(w.identity().to_string()));
        }
    }

    fn push(&mut self, key: &'static str, value: Value) {
        self.0.push((key, value));
    }
}

/// Whether a text value needs no quotes.
fn plain(s: &str) -> bool {
    !s.is_empty()
        && s.bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let party = |a: &str| Party {
            address: a.parse().unwrap(),
            workload: None,
        };
        Flow {
            source: party("10.0.0.1:40000"),
            destination: party("10.0.0.2:80"),
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
        let line = access(&flow(), 1);
        let text = line.render(Format::Text);
        assert!(
            text.contains(" access connection=1 reporter=source source=10.0.0.1:40000 "),
            "{text}"
        );
        assert!(
            text.ends_with("bytes_sent=3 bytes_received=5 duration_ms=1.5 rtt_us=20 flags=-"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&line.render(Format::Json)).unwrap();
        assert_eq!(json["security"], "kernel");
        assert_eq!(json["policy"], "shop/allow-web");
    }

    #[test]
    fn what_policy_ended_says_so() {
        let flow = Flow {
            revoked: true,
            ..flow()
        };
        assert!(
            access(&flow, 1)
                .render(Format::Text)
                .contains("verdict=deny")
        );
        assert!(
            denial(&flow, 1, 4)
                .render(Format::Text)
                .contains(" denial denial=4 ")
        );
    }
}
