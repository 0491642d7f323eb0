//! Conversions between the wire and `warren-core`, in both directions. Decoding checks every field; one bad resource is
//! an error of that resource only. Encoding cannot fail.

use std::sync::Arc;

use prost::{Message, Name};
use prost_types::Any;
use warren_core::policy::Policy;
use warren_core::{Service, Workload};

use crate::r#gen::{security, workload as wire};

mod fields;
mod policy;
mod service;
mod unreadable;
mod workload;

pub use unreadable::{ROOT_NAMESPACES, unreadable_policy};

/// Type URL of workloads and services.
pub const ADDRESS_TYPE: &str = "type.googleapis.com/istio.workload.Address";
/// Type URL of policies.
pub const AUTHORIZATION_TYPE: &str = "type.googleapis.com/istio.security.Authorization";
/// HBONE's port, meant where a gateway names none.
pub const HBONE_PORT: u16 = 15008;
/// Name of the [`security::Authorization`] extension that says why a dry-run policy exists.
pub const AUDIT_EXTENSION: &str = "warren.dev/audit";

/// Why a resource from the wire was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{resource}`: field `{field}`: {problem}")]
pub struct DecodeError {
    /// `workload`, `service`, `policy` or `resource`.
    pub kind: &'static str,
    /// Its unique name, as far as it could be read.
    pub resource: String,
    /// The field, as the .proto names it.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// One resource of type [`ADDRESS_TYPE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A pod or VM.
    Workload(Arc<Workload>),
    /// A service.
    Service(Arc<Service>),
}

impl TryFrom<&wire::Address> for Address {
    type Error = DecodeError;

    fn try_from(address: &wire::Address) -> Result<Self, DecodeError> {
        match &address.r#type {
            Some(wire::address::Type::Workload(w)) => {
                Workload::try_from(w).map(|w| Self::Workload(w.into()))
            }
            Some(wire::address::Type::Service(s)) => {
                Service::try_from(s).map(|s| Self::Service(s.into()))
            }
            None => Err(DecodeError {
                kind: "resource",
                resource: String::new(),
                field: "type",
                problem: "neither a workload nor a service".into(),
            }),
        }
    }
}

impl From<&Workload> for wire::Address {
    fn from(w: &Workload) -> Self {
        Self {
            r#type: Some(wire::address::Type::Workload(w.into())),
        }
    }
}

impl From<&Service> for wire::Address {
    fn from(s: &Service) -> Self {
        Self {
            r#type: Some(wire::address::Type::Service(s.into())),
        }
    }
}

/// Packs a workload or service as the controller sends it.
pub fn pack_address(address: &wire::Address) -> Any {
    pack(ADDRESS_TYPE, address)
}

/// Packs a policy as the controller sends it.
pub fn pack_policy(policy: &Policy) -> Any {
    pack(AUTHORIZATION_TYPE, &security::Authorization::from(policy))
}

/// Unpacks and checks a resource named `name` of type [`ADDRESS_TYPE`].
///
/// # Errors
/// Another type, bytes that are not that message, or a field that does not hold.
pub fn unpack_address(name: &str, any: &Any) -> Result<Address, DecodeError> {
    let message: wire::Address = unpack(name, any, ADDRESS_TYPE)?;
    Address::try_from(&message).map_err(|e| e.named(name))
}

/// Unpacks and checks a resource named `name` of type [`AUTHORIZATION_TYPE`].
///
/// # Errors
/// Another type, bytes that are not that message, or a field that does not hold.
pub fn unpack_policy(name: &str, any: &Any) -> Result<Policy, DecodeError> {
    let message: security::Authorization = unpack(name, any, AUTHORIZATION_TYPE)?;
    Policy::try_from(&message).map_err(|e| e.named(name))
}

impl DecodeError {
    fn named(mut self, name: &str) -> Self {
        if self.resource.is_empty() {
            name.clone_into(&mut self.resource);
        }
        self
    }
}

fn pack(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

fn unpack<M: Message + Default>(name: &str, any: &Any, type_url: &str) -> Result<M, DecodeError> {
    let bad = |field, problem| DecodeError {
        kind: "resource",
        resource: name.to_owned(),
        field,
        problem,
    };
    if any.type_url != type_url {
        return Err(bad(
            "type_url",
            format!("`{}` where `{type_url}` was expected", any.type_url),
        ));
    }
    M::decode(any.value.as_slice()).map_err(|e| bad("value", e.to_string()))
}

/// Packs a message of a package that registers its own type URL.
fn pack_named<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}
