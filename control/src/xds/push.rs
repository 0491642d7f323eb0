//! What a session sends: responses of bounded size that share the bytes of their resources.

use std::sync::Arc;

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::codec::EncodeBuf;

use super::store::Entry;

/// Responses are cut here; the last resource may exceed it.
pub const CHUNK: usize = 2 << 20;

const RESOURCES_FIELD: u32 = 2;
const TYPE_FIELD: u32 = 4;
const NONCE_FIELD: u32 = 5;
const REMOVED_FIELD: u32 = 6;
const MORE_FIELD: u32 = 1001;
const NAME_FIELD: u32 = 3;

/// A resource under the name that the client asked for.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name to send.
    pub name: Arc<str>,
    /// The resource.
    pub entry: Arc<Entry>,
}

/// One response.
#[derive(Clone, Debug, Default)]
pub struct Push {
    /// Type URL.
    pub type_url: Arc<str>,
    /// New and changed resources.
    pub resources: Vec<Named>,
    /// Names that are gone.
    pub removed: Vec<Arc<str>>,
    /// Set when it is sent.
    pub nonce: String,
    /// More responses of this type follow at once.
    pub more: bool,
}

/// Cuts resources and removals into responses; at least one, which may be empty.
pub fn chunks(type_url: &str, resources: Vec<Named>, removed: Vec<Arc<str>>) -> Vec<Push> {
    let type_url: Arc<str> = type_url.into();
    let empty = || Push {
        type_url: type_url.clone(),
        more: true,
        ..Push::default()
    };
    let mut pushes = Vec::new();
    let (mut current, mut size) = (empty(), 0);
    for named in resources {
        if size >= CHUNK {
            pushes.push(std::mem::replace(&mut current, empty()));
            size = 0;
        }
        size += field_len(RESOURCES_FIELD, resource_len(&named));
        current.resources.push(named);
    }
    for name in removed {
        if size >= CHUNK {
            pushes.push(std::mem::replace(&mut current, empty()));
            size = 0;
        }
        size += field_len(REMOVED_FIELD, name.len());
        current.removed.push(name);
    }
    current.more = false;
    pushes.push(current);
    pushes
}

impl Push {
    /// Bytes on the wire, but for HTTP/2 and TLS.
    pub fn encoded_len(&self) -> usize {
        let resources = self
            .resources
            .iter()
            .map(|n| field_len(RESOURCES_FIELD, resource_len(n)));
        let removed = self
            .removed
            .iter()
            .map(|n| field_len(REMOVED_FIELD, n.len()));
        let texts =
            field_len(TYPE_FIELD, self.type_url.len()) + field_len(NONCE_FIELD, self.nonce.len());
        let more = if self.more {
            key_len(MORE_FIELD) + 1
        } else {
            0
        };
        resources.chain(removed).sum::<usize>() + texts + more
    }

    /// Writes `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
    pub fn encode(&self, buf: &mut EncodeBuf<'_>) {
        use bytes::BufMut;
        buf.reserve(self.encoded_len());
        for named in &self.resources {
            encode_key(RESOURCES_FIELD, WireType::LengthDelimited, buf);
            encode_varint(resource_len(named) as u64, buf);
            buf.put_slice(&named.entry.body);
            text(NAME_FIELD, &named.name, buf);
        }
        text(TYPE_FIELD, &self.type_url, buf);
        text(NONCE_FIELD, &self.nonce, buf);
        for name in &self.removed {
            text(REMOVED_FIELD, name, buf);
        }
        if self.more {
            encode_key(MORE_FIELD, WireType::Varint, buf);
            encode_varint(1, buf);
        }
    }
}

fn text(field: u32, value: &str, buf: &mut EncodeBuf<'_>) {
    use bytes::BufMut;
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(value.len() as u64, buf);
    buf.put_slice(value.as_bytes());
}

fn field_len(field: u32, content: usize) -> usize {
    key_len(field) + encoded_len_varint(content as u64) + content
}

fn resource_len(named: &Named) -> usize {
    named.entry.body.len() + field_len(NAME_FIELD, named.name.len())
}
