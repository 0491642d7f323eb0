//! HBONE's headers, and what a request must keep.

use std::net::SocketAddr;

use crate::hpack::Fields;

/// The header fields of a CONNECT as a stock tunnel sends it.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// `:authority`.
    pub authority: String,
    /// Further fields, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// With `baggage`, `forwarded` and `traceparent` that name `source`.
    pub fn stock(authority: &str, source: &str) -> Self {
        let baggage = "k8s.cluster.name=Kubernetes,k8s.namespace.name=interop,k8s.pod.name=peer,\
                       service.name=peer,service.version=v1,cloud.region=,cloud.availability_zone=";
        let fields = [
            ("baggage", baggage.to_owned()),
            ("forwarded", format!("for=\"{source}\"")),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            ),
        ];
        Self {
            authority: authority.to_owned(),
            fields: fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
        }
    }

    /// Replaces or adds a field; an empty value takes it away.
    pub fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(n, _)| n != name);
        if !value.is_empty() {
            self.fields.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Everything, pseudo fields first.
    pub fn all(&self) -> Fields {
        let mut all = vec![
            (":method".to_owned(), "CONNECT".to_owned()),
            (":authority".to_owned(), self.authority.clone()),
        ];
        all.extend(self.fields.iter().cloned());
        all
    }
}

/// The value of a field.
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_str())
}

/// What is wrong with a CONNECT, measured by RFC 9113 §8.5 and what a stock tunnel reads.
pub fn request_faults(fields: &Fields) -> Vec<String> {
    let mut wrong = Vec::new();
    if field(fields, ":method") != Some("CONNECT") {
        wrong.push(format!(":method is {:?}", field(fields, ":method")));
    }
    for name in [":scheme", ":path", "host"] {
        if field(fields, name).is_some() {
            wrong.push(format!("CONNECT with {name}"));
        }
    }
    match field(fields, ":authority") {
        Some(text) if text.parse::<SocketAddr>().is_ok() => {}
        other => wrong.push(format!(":authority is {other:?}, not IP:PORT")),
    }
    if let Some((name, _)) = fields
        .iter()
        .find(|(n, _)| n.chars().any(|c| c.is_ascii_uppercase()))
    {
        wrong.push(format!("field {name} has capitals"));
    }
    let mut regular = false;
    for (name, _) in fields {
        if name.starts_with(':') && regular {
            wrong.push(format!("{name} behind a regular field"));
        }
        regular |= !name.starts_with(':');
    }
    wrong.extend(baggage_faults(field(fields, "baggage")));
    wrong.extend(forwarded_faults(field(fields, "forwarded")));
    wrong
}

/// What is wrong with a `baggage`.
pub fn baggage_faults(baggage: Option<&str>) -> Vec<String> {
    let Some(text) = baggage else {
        return vec!["no baggage".into()];
    };
    let keys: Vec<&str> = text
        .split(',')
        .map(|e| e.trim().split_once('=').map_or("", |(k, _)| k))
        .collect();
    let mut wrong: Vec<String> = ["k8s.cluster.name", "k8s.namespace.name", "service.name"]
        .into_iter()
        .filter(|k| !keys.contains(k))
        .map(|k| format!("baggage {text:?} without {k}"))
        .collect();
    let kinds = [
        "k8s.pod.name",
        "k8s.deployment.name",
        "k8s.job.name",
        "k8s.cronjob.name",
    ];
    if !kinds.iter().any(|k| keys.contains(k)) {
        wrong.push(format!("baggage {text:?} without k8s.<type>.name"));
    }
    wrong
}

fn forwarded_faults(forwarded: Option<&str>) -> Vec<String> {
    let Some(text) = forwarded else {
        return vec!["no forwarded".into()];
    };
    let peer = text
        .split(';')
        .find_map(|part| part.trim().strip_prefix("for="))
        .map(|p| p.trim_matches('"'));
    match peer {
        Some(peer) if peer.parse::<SocketAddr>().is_ok() => vec![],
        _ => vec![format!("forwarded {text:?} without for=\"IP:PORT\"")],
    }
}

/// The byte at `at` of what is sent on a stream.
pub fn pattern(stream: u32, at: u64) -> u8 {
    (at.wrapping_mul(31).wrapping_add(u64::from(stream) * 17) % 251) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_head_has_no_fault() {
        let head = Head::stock("[fd00::1]:8080", "10.0.0.1:4000");
        assert_eq!(request_faults(&head.all()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_found() {
        let fault = |change: &dyn Fn(&mut Head)| {
            let mut head = Head::stock("10.0.0.1:80", "10.0.0.2:4000");
            change(&mut head);
            request_faults(&head.all()).len()
        };
        assert_eq!(fault(&|h| h.authority = "web:80".into()), 1);
        assert_eq!(fault(&|h| h.set("baggage", "")), 1);
        assert_eq!(fault(&|h| h.set("baggage", "k8s.cluster.name=a")), 3);
        assert_eq!(fault(&|h| h.set("forwarded", "for=10.0.0.2")), 1);
        assert_eq!(fault(&|h| h.set(":path", "/")), 2);
        assert_eq!(fault(&|h| h.set("Upper", "x")), 1);
    }
}
