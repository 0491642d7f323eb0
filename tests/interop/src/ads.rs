//! Delta xDS by hand: requests, responses, a client that keeps state, and the checks that INTEROP's readers rely on.

pub mod checks;
pub mod client;
pub mod step;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::error::WireError;
use crate::proto::{Value, Writer, fields};
use crate::schema::{self, ADDRESS, AUTHORIZATION};

/// The method.
pub const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// The two types that a tunnel subscribes to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs)]
pub enum Type {
    Address,
    Authorization,
}

impl Type {
    /// Type URL.
    pub fn url(self) -> &'static str {
        match self {
            Self::Address => "type.googleapis.com/istio.workload.Address",
            Self::Authorization => "type.googleapis.com/istio.security.Authorization",
        }
    }

    fn of(url: &str) -> Option<Self> {
        [Self::Address, Self::Authorization]
            .into_iter()
            .find(|t| t.url() == url)
    }
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// `ztunnel~IP~POD.NS~NS.svc.cluster.local`.
    pub id: String,
    /// Entries of the metadata.
    pub metadata: Vec<(String, String)>,
}

/// A `DeltaDiscoveryRequest`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only in each type's first request.
    pub node: Option<Node>,
    /// Names to subscribe to.
    pub subscribe: Vec<String>,
    /// Names to leave.
    pub unsubscribe: Vec<String>,
    /// Name to version of what is held already.
    pub versions: BTreeMap<String, String>,
    /// Nonce of the response that this answers.
    pub nonce: String,
    /// Why that response is refused.
    pub error: Option<String>,
}

impl Request {
    /// The message's bytes.
    pub fn encode(&self, kind: Type) -> Vec<u8> {
        let mut out = Writer::default();
        if let Some(node) = &self.node {
            let metadata: Vec<(&str, &str)> = node
                .metadata
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            out.message(1, |n| {
                n.string(1, &node.id).strings(3, &metadata);
            });
        }
        out.string(2, kind.url());
        for name in &self.subscribe {
            out.bytes(3, name.as_bytes());
        }
        for name in &self.unsubscribe {
            out.bytes(4, name.as_bytes());
        }
        for (name, version) in &self.versions {
            out.message(5, |entry| {
                entry.string(1, name).string(2, version);
            });
        }
        out.string(6, &self.nonce);
        if let Some(error) = &self.error {
            out.message(7, |status| {
                status.varint(1, 3).string(2, error);
            });
        }
        out.bytes
    }
}

/// A resource of a response.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// Type URL of the value inside.
    pub type_url: String,
    /// The value, shown by the tables of [`schema`].
    pub value: Json,
}

/// A `DeltaDiscoveryResponse`.
#[derive(Clone, Debug)]
pub struct Response {
    /// Which type.
    pub kind: Type,
    /// Resources in their order.
    pub resources: Vec<Resource>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// To be echoed by the answer.
    pub nonce: String,
    /// What was wrong with the encoding.
    pub findings: Vec<String>,
}

impl Response {
    /// Reads the message.
    pub fn decode(message: &[u8]) -> Result<Self, WireError> {
        let parts = fields(message)?;
        let text = |number: u32| match parts.iter().find(|(n, _)| *n == number) {
            Some((_, value)) => value.as_text(),
            None => Ok(String::new()),
        };
        let url = text(4)?;
        let kind = Type::of(&url)
            .ok_or_else(|| WireError::Protocol(format!("a response of type {url:?}")))?;
        let mut response = Self {
            kind,
            resources: vec![],
            removed: vec![],
            nonce: text(5)?,
            findings: vec![],
        };
        for (number, value) in &parts {
            match number {
                2 => {
                    let read = resource(kind, *value, &mut response.findings)?;
                    response.resources.push(read);
                }
                6 => response.removed.push(value.as_text()?),
                _ => {}
            }
        }
        Ok(response)
    }

    /// As a line of output.
    pub fn describe(&self) -> Json {
        let resources: Vec<Json> = self
            .resources
            .iter()
            .map(|r| json!({"name": r.name, "version": r.version, "aliases": r.aliases, "value": r.value}))
            .collect();
        json!({
            "event": "response",
            "type": format!("{:?}", self.kind),
            "nonce": self.nonce,
            "resources": resources,
            "removed": self.removed,
        })
    }
}

fn resource(
    kind: Type,
    value: Value<'_>,
    findings: &mut Vec<String>,
) -> Result<Resource, WireError> {
    let mut read = Resource {
        name: String::new(),
        version: String::new(),
        aliases: Vec::new(),
        type_url: String::new(),
        value: Json::Null,
    };
    let mut any = None;
    for (number, part) in fields(value.as_bytes()?)? {
        match number {
            1 => read.version = part.as_text()?,
            2 => any = Some(part.as_bytes()?),
            3 => read.name = part.as_text()?,
            4 => read.aliases.push(part.as_text()?),
            _ => {}
        }
    }
    let mut inner: &[u8] = &[];
    for (number, part) in fields(any.unwrap_or_default())? {
        match number {
            1 => read.type_url = part.as_text()?,
            2 => inner = part.as_bytes()?,
            _ => {}
        }
    }
    let table = match kind {
        Type::Address => &ADDRESS,
        Type::Authorization => &AUTHORIZATION,
    };
    read.value = schema::read(table, inner, &read.name, findings)?;
    Ok(read)
}
