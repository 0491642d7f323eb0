//! The headers of CONNECT requests: who speaks (baggage), for whom (forwarded, RFC 7239), and the trace (traceparent, W3C).

use std::fmt::Write;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue};

/// W3C baggage.
pub const BAGGAGE: &str = "baggage";
/// RFC 7239.
pub const FORWARDED: &str = "forwarded";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// In an answer to CONNECT: this peer takes bytes that come with a request, before its answer. Others may not.
/// In a request to such a peer: this client sends its first bytes without waiting for the answer.
pub const EARLY_DATA: &str = "warren-early-data";

/// What a tunnel tells its peer about the workload that it speaks for. Empty parts are left out.
#[derive(Clone, Debug, Default)]
pub struct Baggage<'a> {
    /// Cluster.
    pub cluster: &'a str,
    /// Kubernetes namespace.
    pub namespace: &'a str,
    /// `deployment`, `cronjob`, `pod` or `job`.
    pub kind: &'a str,
    /// The owner's name.
    pub workload: &'a str,
    /// Canonical service name.
    pub service: &'a str,
    /// Canonical version.
    pub version: &'a str,
    /// Region.
    pub region: &'a str,
    /// Zone.
    pub zone: &'a str,
}

impl Baggage<'_> {
    /// The header's value.
    pub fn to_value(&self) -> HeaderValue {
        let kind = format!("k8s.{}.name", self.kind);
        let pairs = [
            ("k8s.cluster.name", self.cluster),
            ("k8s.namespace.name", self.namespace),
            (kind.as_str(), self.workload),
            ("service.name", self.service),
            ("service.version", self.version),
            ("cloud.region", self.region),
            ("cloud.availability_zone", self.zone),
        ];
        let mut out = String::with_capacity(160);
        for (key, value) in pairs.into_iter().filter(|(_, v)| !v.is_empty()) {
            if !out.is_empty() {
                out.push(',');
            }
            out.push_str(key);
            out.push('=');
            percent_encode(&mut out, value);
        }
        HeaderValue::from_str(&out).unwrap_or(HeaderValue::from_static(""))
    }
}

/// `for="ip:port"`, and `;host=service` where one was asked for.
pub fn forwarded(client: SocketAddr, host: Option<&str>) -> HeaderValue {
    let mut out = format!("for=\"{client}\"");
    if let Some(host) = host {
        out.push_str(";host=");
        out.push_str(host);
    }
    HeaderValue::from_str(&out).unwrap_or(HeaderValue::from_static(""))
}

/// The client's address out of the last `forwarded` header, if it carries address and port.
pub fn client_of(headers: &HeaderMap) -> Option<SocketAddr> {
    let value = headers
        .get_all(FORWARDED)
        .iter()
        .next_back()?
        .to_str()
        .ok()?;
    let element = value.rsplit(',').next()?;
    let node = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for")
            .then(|| value.trim_matches('"'))
    })?;
    node.parse().ok()
}

/// A new trace with its flag for sampling off.
pub fn new_traceparent() -> HeaderValue {
    let value = format!(
        "00-{:032x}-{:016x}-00",
        rand::random::<u128>() | 1,
        rand::random::<u64>() | 1
    );
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""))
}

fn percent_encode(out: &mut String, value: &str) {
    for b in value.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~/:+!".contains(&b) {
            out.push(b.into());
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_round_trips_both_families() {
        for addr in ["10.0.0.1:4000", "[fd00::1]:4000"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let mut map = HeaderMap::new();
            map.insert(
                FORWARDED,
                forwarded(addr, Some("web.shop.svc.cluster.local")),
            );
            assert_eq!(client_of(&map), Some(addr));
        }
    }

    #[test]
    fn a_forwarded_header_without_a_port_names_no_client() {
        let mut map = HeaderMap::new();
        map.insert(FORWARDED, HeaderValue::from_static("for=unknown;host=x"));
        assert_eq!(client_of(&map), None);
    }

    #[test]
    fn baggage_leaves_out_what_is_empty_and_escapes() {
        let b = Baggage {
            cluster: "a b",
            kind: "pod",
            workload: "web",
            ..Default::default()
        };
        assert_eq!(b.to_value(), "k8s.cluster.name=a%20b,k8s.pod.name=web");
    }

    #[test]
    fn traceparent_has_the_shape_of_the_standard() {
        let v = new_traceparent();
        let parts: Vec<_> = v.to_str().unwrap().split('-').map(str::len).collect();
        assert_eq!(parts, [2, 32, 16, 2]);
    }
}
