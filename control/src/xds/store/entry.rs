//! One resource, encoded once and sent to every client from the same bytes.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::Any;
use warren_api::codec::{pack_address, pack_policy};
use warren_core::policy::{Policy, PolicyKey};
use warren_core::service::ServiceKey;
use warren_core::workload::Uid;
use warren_core::{Service, Workload};

/// One resource.
#[derive(Debug)]
pub struct Entry {
    /// Its resource name.
    pub name: Arc<str>,
    /// Hash of its content: equal content, equal version, after a restart of the controller as well.
    pub version: Arc<str>,
    /// The encoded fields of `envoy.service.discovery.v3.Resource`, the name aside.
    pub body: Bytes,
    /// Other names that it may be asked for by.
    pub aliases: Vec<Arc<str>>,
    /// Resource names of the services that a workload backs.
    pub services: Vec<Arc<str>>,
}

const VERSION_FIELD: u32 = 1;
const RESOURCE_FIELD: u32 = 2;
const ALIASES_FIELD: u32 = 4;

pub(super) fn policy(key: &PolicyKey, policy: Option<&Policy>) -> (Arc<str>, Option<Entry>) {
    let name: Arc<str> = key.to_string().into();
    let entry = policy.map(|p| entry(&name, &pack_policy(p), Vec::new(), Vec::new()));
    (name, entry)
}

pub(super) fn service(key: &ServiceKey, service: Option<&Service>) -> (Arc<str>, Option<Entry>) {
    let name: Arc<str> = key.to_string().into();
    let entry = service.map(|s| {
        let aliases = s.addresses.iter().map(|a| a.to_string().into()).collect();
        entry(&name, &pack_address(&s.into()), aliases, Vec::new())
    });
    (name, entry)
}

/// A node's address stands for no workload on its network, so those have no alias.
pub(super) fn workload(uid: &Uid, workload: Option<&Workload>) -> (Arc<str>, Option<Entry>) {
    let entry = workload.map(|w| {
        let own = if w.host_network {
            &[][..]
        } else {
            &w.addresses
        };
        let aliases = own
            .iter()
            .map(|ip| format!("{}/{ip}", w.network).into())
            .collect();
        let services = w.services.keys().map(|k| k.to_string().into()).collect();
        entry(&uid.0, &pack_address(&w.into()), aliases, services)
    });
    (uid.0.clone(), entry)
}

fn entry(name: &Arc<str>, content: &Any, aliases: Vec<Arc<str>>, services: Vec<Arc<str>>) -> Entry {
    let version: Arc<str> = version(&content.value).into();
    let mut body = BytesMut::with_capacity(content.encoded_len() + 64);
    text(VERSION_FIELD, &version, &mut body);
    encode_key(RESOURCE_FIELD, WireType::LengthDelimited, &mut body);
    encode_varint(content.encoded_len() as u64, &mut body);
    body.extend_from_slice(&content.encode_to_vec());
    for alias in &aliases {
        text(ALIASES_FIELD, alias, &mut body);
    }
    Entry {
        name: name.clone(),
        version,
        body: body.freeze(),
        aliases,
        services,
    }
}

fn text(field: u32, value: &str, body: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, body);
    encode_varint(value.len() as u64, body);
    body.extend_from_slice(value.as_bytes());
}

/// 128 bits: with 64, two of a hundred thousand resources that change for years might meet.
fn version(content: &[u8]) -> String {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(content);
        hasher.finish()
    };
    format!("{:016x}{:016x}", half(1), half(2))
}
