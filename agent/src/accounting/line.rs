//! Log lines of direct flows, with the keys of the tunnel's.

use std::time::SystemTime;

use warren_admin::access::Line;

use super::{Flow, Format, Party};

const REVOKED: &str = "a change of policy denies it";

/// The end of a flow; `id` is unique in this process.
pub fn access(out: &mut String, flow: &Flow, id: u64, format: Format) {
    let mut line = Line::begin(out, format, "access", SystemTime::now());
    head(&mut line, flow, id);
    line.number("bytes_sent", flow.sent);
    line.number("bytes_received", flow.received);
    line.number("duration_ms", (flow.nanoseconds / 1000) as f64 / 1000.0);
    line.number("rtt_us", flow.rtt_us);
    line.text("flags", flow.flags());
    if flow.revoked {
        line.text("error", REVOKED);
    }
    line.finish();
    out.push('\n');
}

/// Policy ended a flow; numbers without gaps mean that no line was lost.
pub fn denial(out: &mut String, flow: &Flow, id: u64, number: u64, format: Format) {
    let mut line = Line::begin(out, format, "denial", SystemTime::now());
    line.number("denial", number);
    head(&mut line, flow, id);
    line.text("reason", REVOKED);
    line.finish();
    out.push('\n');
}

fn head(line: &mut Line<'_>, flow: &Flow, id: u64) {
    line.number("connection", id);
    line.text("reporter", "source");
    let mut end = |keys, party: &Party| {
        let workload = party.workload.as_deref();
        let identity = workload.map(|w| w.identity());
        line.end_of(keys, party.address, workload, identity.as_ref());
    };
    end(
        ["source", "source_workload", "source_identity"],
        &flow.source,
    );
    end(
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn access(flow: &Flow, id: u64, format: Format) -> String {
        let mut line = String::new();
        super::access(&mut line, flow, id, format);
        line.trim_end_matches('\n').to_owned()
    }

    fn denial(flow: &Flow, id: u64, number: u64, format: Format) -> String {
        let mut line = String::new();
        super::denial(&mut line, flow, id, number, format);
        line.trim_end_matches('\n').to_owned()
    }

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
