//! Field numbers of Istio's workload and authorisation types, as tables, and messages shown as JSON by them.
//! Numbers from 1001 on are extensions that a stock reader skips; any other unknown number is a finding.

mod tables;

use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};

pub use self::tables::{ADDRESS, AUTHORIZATION};
use crate::error::WireError;
use crate::proto::{self, Value};

/// A message type.
#[derive(Debug)]
pub struct Message {
    /// Its fields.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
    many: bool,
}

#[derive(Debug)]
enum Kind {
    Text,
    /// An address of 4 or 16 bytes.
    Ip,
    Number,
    Bool,
    Enum(&'static [&'static str]),
    Message(&'static Message),
    /// From strings to messages.
    Map(&'static Message),
    Any,
}

/// Reads a message by its table; findings are added to `findings` with their path.
pub fn read(
    message: &'static Message,
    bytes: &[u8],
    path: &str,
    findings: &mut Vec<String>,
) -> Result<Json, WireError> {
    let mut object = Map::new();
    for (number, value) in proto::fields(bytes)? {
        let Some(field) = message.fields.iter().find(|f| f.number == number) else {
            if number < 1001 {
                findings.push(format!("{path}: field {number} is not in Istio's API"));
            }
            continue;
        };
        let place = format!("{path}.{}", field.name);
        match &field.kind {
            Kind::Map(inner) => map_entry(inner, &mut object, field, value, &place, findings)?,
            kind => {
                let shown = one(kind, value, &place, findings)?;
                insert(&mut object, field, shown);
            }
        }
    }
    Ok(Json::Object(object))
}

fn insert(object: &mut Map<String, Json>, field: &Field, value: Json) {
    if !field.many {
        object.insert(field.name.to_owned(), value);
        return;
    }
    let list = object.entry(field.name).or_insert_with(|| json!([]));
    if let Json::Array(list) = list {
        match value {
            Json::Array(packed) => list.extend(packed),
            single => list.push(single),
        }
    }
}

fn map_entry(
    inner: &'static Message,
    object: &mut Map<String, Json>,
    field: &Field,
    value: Value<'_>,
    path: &str,
    findings: &mut Vec<String>,
) -> Result<(), WireError> {
    let (mut key, mut shown) = (String::new(), json!({}));
    for (number, part) in proto::fields(value.as_bytes()?)? {
        match number {
            1 => key = part.as_text()?,
            2 => shown = read(inner, part.as_bytes()?, path, findings)?,
            _ => return Err(WireError::Proto("a map entry with a third field")),
        }
    }
    let map = object.entry(field.name).or_insert_with(|| json!({}));
    map[key] = shown;
    Ok(())
}

fn one(
    kind: &'static Kind,
    value: Value<'_>,
    path: &str,
    findings: &mut Vec<String>,
) -> Result<Json, WireError> {
    Ok(match kind {
        Kind::Text => json!(value.as_text()?),
        Kind::Ip => match ip(value.as_bytes()?) {
            Some(ip) => json!(ip.to_string()),
            None => {
                findings.push(format!(
                    "{path}: an address that has neither 4 nor 16 bytes"
                ));
                json!(null)
            }
        },
        Kind::Number => match value {
            Value::Bytes(packed) => packed_numbers(packed)?,
            single => json!(single.as_number()?),
        },
        Kind::Bool => json!(value.as_number()? != 0),
        Kind::Enum(names) => match value {
            Value::Bytes(packed) => packed_numbers(packed)?,
            single => enum_name(names, single.as_number()?, path, findings),
        },
        Kind::Message(inner) => read(inner, value.as_bytes()?, path, findings)?,
        Kind::Any => any(value.as_bytes()?)?,
        Kind::Map(_) => return Err(WireError::Proto("a map inside a map")),
    })
}

fn enum_name(names: &[&str], number: u64, path: &str, findings: &mut Vec<String>) -> Json {
    match names.get(number as usize) {
        Some(name) => json!(name),
        None => {
            findings.push(format!("{path}: {number} is no value of this enumeration"));
            json!(number)
        }
    }
}

fn packed_numbers(mut packed: &[u8]) -> Result<Json, WireError> {
    let mut list = Vec::new();
    while !packed.is_empty() {
        list.push(json!(proto::varint(&mut packed)?));
    }
    Ok(Json::Array(list))
}

fn any(bytes: &[u8]) -> Result<Json, WireError> {
    let mut shown = json!({});
    for (number, value) in proto::fields(bytes)? {
        match number {
            1 => shown["type_url"] = json!(value.as_text()?),
            _ => shown["bytes"] = json!(value.as_bytes()?.len()),
        }
    }
    Ok(shown)
}

/// An address from its bytes in network order.
pub fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Writer;

    #[test]
    fn a_workload_is_read_by_its_numbers() {
        let mut address = Writer::default();
        address.message(1, |w| {
            w.string(20, "Kubernetes//Pod/shop/web")
                .string(1, "web")
                .bytes(3, &[10, 0, 0, 1]);
            w.varint(5, 1)
                .string(9, "a")
                .string(16, "shop/deny")
                .varint(1001, 1)
                .varint(15, 7);
            w.message(22, |entry| {
                entry
                    .string(1, "shop/web.shop.svc.cluster.local")
                    .message(2, |ports| {
                        ports.message(1, |port| {
                            port.varint(1, 80).varint(2, 8080);
                        });
                    });
            });
        });
        let mut findings = Vec::new();
        let read = read(&ADDRESS, &address.bytes, "a", &mut findings).unwrap();
        let workload = &read["workload"];
        assert_eq!(workload["uid"], "Kubernetes//Pod/shop/web");
        assert_eq!(workload["addresses"], json!(["10.0.0.1"]));
        assert_eq!(workload["tunnel_protocol"], "HBONE");
        let ports = &workload["services"]["shop/web.shop.svc.cluster.local"]["ports"];
        assert_eq!(ports, &json!([{"service_port": 80, "target_port": 8080}]));
        assert_eq!(findings, ["a.workload: field 15 is not in Istio's API"]);
    }

    #[test]
    fn an_authorization_is_read_by_its_numbers() {
        let mut policy = Writer::default();
        policy
            .string(1, "deny")
            .string(2, "shop")
            .varint(3, 2)
            .varint(4, 1)
            .message(5, |rule| {
                rule.message(1, |clause| {
                    clause.message(1, |m| {
                        m.message(4, |s| {
                            s.message(4, |_| {});
                        });
                        m.message(5, |a| {
                            a.bytes(1, &[10, 0, 0, 0]).varint(2, 8);
                        });
                        m.bytes(9, &[80, 0xbb, 3]);
                    });
                });
            });
        let mut findings = Vec::new();
        let read = read(&AUTHORIZATION, &policy.bytes, "p", &mut findings).unwrap();
        assert_eq!(
            (&read["action"], &read["scope"]),
            (&json!("DENY"), &json!("WORKLOAD_SELECTOR"))
        );
        let m = &read["rules"][0]["clauses"][0]["matches"][0];
        assert_eq!(m["not_principals"], json!([{"presence": {}}]));
        assert_eq!(
            m["source_ips"],
            json!([{"address": "10.0.0.0", "length": 8}])
        );
        assert_eq!(m["destination_ports"], json!([80, 443]));
        assert!(findings.is_empty());
    }
}
