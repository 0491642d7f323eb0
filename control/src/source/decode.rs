//! One document, already parsed as JSON or YAML, to one object.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use warren_crds::{AuthorizationPolicy, PeerAuthentication};

use super::stand_in::{self, StandIn};
use super::unknown;
use crate::index::{authorization, peer};
use crate::model::{EndpointSlice, Id, Kind, Meta, Object, ObjectKey, Pod, Service, labels};

/// What is in force where a change was refused: for [`Note::until_then`].
pub const VERSION_BEFORE: &str = "the version before stays in force";
/// What is in force where there is no version before, nor anything that stands in.
pub const NO_EFFECT: &str = "it has no effect";

/// What a document turned out to be.
#[derive(Debug)]
pub struct Decoded {
    /// The object; None for kinds that mean nothing here.
    pub object: Option<Object>,
    /// What of it has no effect.
    pub notes: Vec<Note>,
}

/// Something about an object that its author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub next_step: String,
}

impl Note {
    /// A part of an object that has no effect.
    pub fn part(reason: String) -> Self {
        Self {
            reason,
            next_step: "correct it; the rest of the object is in force".into(),
        }
    }

    /// What is in force until the object is corrected.
    #[must_use]
    pub fn until_then(mut self, effect: &str) -> Self {
        self.next_step = format!("{}; until then {effect}", self.next_step);
        self
    }
}

/// Why a document is no object.
#[derive(Debug)]
pub struct Rejected {
    /// The object, as far as it could be told.
    pub object: Option<ObjectKey>,
    /// What is wrong.
    pub note: Note,
    /// What closes in its place.
    pub stand_in: Option<Box<StandIn>>,
}

/// Turns a document into an object.
///
/// # Errors
/// No name, no kind, values of a wrong type, or an unknown field in an object of `warren.dev`.
pub fn decode(value: Value) -> Result<Decoded, Rejected> {
    let value = normalised(value);
    let text = |field: &str| {
        value
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.is_empty() || kind.is_empty() {
        return Err(rejected(
            None,
            "apiVersion or kind is missing",
            "give both, as kubectl requires",
        ));
    }
    match (version.as_str(), kind.as_str()) {
        ("v1", "Namespace") => typed::<core::Namespace>(Kind::Namespace, value, |meta, _| {
            plain(Object::Namespace(meta))
        }),
        ("v1", "Node") => {
            typed::<core::Node>(Kind::Node, value, |meta, _| plain(Object::Node(meta)))
        }
        ("v1", "ServiceAccount") => {
            typed::<core::ServiceAccount>(Kind::ServiceAccount, value, |meta, _| {
                plain(Object::ServiceAccount(meta))
            })
        }
        ("v1", "Pod") => typed::<core::Pod>(Kind::Pod, value, |meta, o| {
            let (pod, problems) = Pod::from_kubernetes(meta, o);
            (Object::Pod(pod.into()), problems)
        }),
        ("v1", "Service") => typed::<core::Service>(Kind::Service, value, |meta, o| {
            let (service, problems) = Service::from_kubernetes(meta, o);
            (Object::Service(service.into()), problems)
        }),
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            typed::<discovery::EndpointSlice>(Kind::EndpointSlice, value, |meta, o| {
                let (slice, problems) = EndpointSlice::from_kubernetes(meta, o);
                (Object::EndpointSlice(slice.into()), problems)
            })
        }
        ("warren.dev/v1alpha1", "AuthorizationPolicy") => {
            typed::<AuthorizationPolicy>(Kind::AuthorizationPolicy, value, |meta, o| {
                plain(Object::AuthorizationPolicy(meta, Box::new(o.spec.clone())))
            })
        }
        ("warren.dev/v1alpha1", "PeerAuthentication") => {
            typed::<PeerAuthentication>(Kind::PeerAuthentication, value, |meta, o| {
                plain(Object::PeerAuthentication(meta, Box::new(o.spec.clone())))
            })
        }
        _ => without_effect(&version, &kind, &value),
    }
}

/// Kinds that are no concern of the mesh are passed over in silence; those that ask something of it are not.
fn without_effect(version: &str, kind: &str, value: &Value) -> Result<Decoded, Rejected> {
    let group = version.split_once('/').map_or("", |(g, _)| g);
    let name = value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let note = match group {
        labels::GROUP => {
            let reason = format!("{kind} {name}: {version} has no kind {kind} in this release");
            return Err(rejected(
                None,
                reason,
                "remove it, or use AuthorizationPolicy or PeerAuthentication",
            ));
        }
        "gateway.networking.k8s.io" => Note {
            reason: format!(
                "{kind} {name}: the Gateway API is not in this release, so it has no effect"
            ),
            next_step: "remove it, or expect connections to go to the Service's endpoints directly"
                .into(),
        },
        _ => {
            return Ok(Decoded {
                object: None,
                notes: Vec::new(),
            });
        }
    };
    Ok(Decoded {
        object: None,
        notes: vec![note],
    })
}

trait Named {
    fn metadata(&self) -> &ObjectMeta;
}

macro_rules! named {
    ($($kind:ty),*) => { $(impl Named for $kind {
        fn metadata(&self) -> &ObjectMeta { &self.metadata }
    })* };
}
named!(
    core::Namespace,
    core::Node,
    core::Pod,
    core::Service,
    core::ServiceAccount
);
named!(
    discovery::EndpointSlice,
    AuthorizationPolicy,
    PeerAuthentication
);

fn plain(object: Object) -> (Object, Vec<String>) {
    (object, Vec::new())
}

fn typed<T: Named + Serialize + DeserializeOwned>(
    kind: Kind,
    value: Value,
    build: impl FnOnce(Meta, &T) -> (Object, Vec<String>),
) -> Result<Decoded, Rejected> {
    let id = name_of(kind, &value)?;
    let ours = kind.has_status();
    let value = if ours { without_status(value) } else { value };
    let key = ObjectKey {
        kind,
        id: id.clone(),
    };
    let refused = |reason: String, next_step: &str| {
        let stand_in = stand_in::of(kind, scraped(&id, &value), &value);
        Rejected {
            stand_in: stand_in.map(Box::new),
            ..rejected(Some(key.clone()), reason, next_step)
        }
    };
    let object = T::deserialize(&value).map_err(|e| refused(e.to_string(), "correct it"))?;
    let unknown = serde_json::to_value(&object)
        .map(|known| unknown::fields(&value, &known))
        .unwrap_or_default();
    if ours && !unknown.is_empty() {
        let reason = format!("unknown field {}", unknown.join(", "));
        return Err(refused(reason, "correct its name or its indentation"));
    }
    let (object, problems) = build(meta(id.clone(), object.metadata()), &object);
    let invalid = match &object {
        Object::AuthorizationPolicy(meta, spec) => authorization::compile(meta, spec).err(),
        Object::PeerAuthentication(meta, spec) => peer::compile(meta, spec).err(),
        _ => None,
    };
    if let Some(reason) = invalid {
        return Err(refused(reason, "correct it"));
    }
    let unknown = unknown.into_iter().map(|f| Note {
        reason: format!("unknown field {f}"),
        next_step: "correct its name or its indentation; it has no effect".into(),
    });
    let problems = problems.into_iter().map(Note::part);
    Ok(Decoded {
        object: Some(object),
        notes: unknown.chain(problems).collect(),
    })
}

/// A status is what we write ourselves; whatever stands there must not spoil the object.
fn without_status(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    value
}

/// Namespace (`default` where none is given) and name.
fn name_of(kind: Kind, value: &Value) -> Result<Id, Rejected> {
    let text = |p: &str| value.pointer(p).and_then(Value::as_str).unwrap_or_default();
    let name = text("/metadata/name");
    let namespace = match (kind.is_namespaced(), text("/metadata/namespace")) {
        (false, _) => "",
        (true, "") => "default",
        (true, given) => given,
    };
    if !is_name(name) || !(namespace.is_empty() || is_name(namespace)) {
        let reason =
            format!("{kind} `{namespace}/{name}`: not a valid metadata.name or metadata.namespace");
        return Err(rejected(
            None,
            reason,
            "use lower-case letters, digits, `-` and `.`, 253 at most",
        ));
    }
    Ok(Id::new(namespace, name))
}

/// A DNS subdomain (RFC 1123), as Kubernetes asks of names.
fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.bytes().all(inner)
        && edge(name.bytes().next())
        && edge(name.bytes().next_back())
}

/// Metadata, cut down.
pub fn meta(id: Id, meta: &ObjectMeta) -> Meta {
    let annotations = meta.annotations.iter().flatten();
    Meta {
        id,
        uid: Arc::from(meta.uid.as_deref().unwrap_or_default()),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: annotations
            .filter(|(k, _)| k.starts_with(labels::PREFIX))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<BTreeMap<_, _>>(),
        created: meta
            .creation_timestamp
            .as_ref()
            .map_or(0, |t| t.0.as_second()),
    }
}

fn rejected(object: Option<ObjectKey>, reason: impl Into<String>, next_step: &str) -> Rejected {
    Rejected {
        object,
        note: Note {
            reason: reason.into(),
            next_step: next_step.into(),
        },
        stand_in: None,
    }
}

/// Metadata of a document that may be bad anywhere.
fn scraped(id: &Id, value: &Value) -> Meta {
    let given = value.get("metadata").map(ObjectMeta::deserialize);
    meta(id.clone(), &given.and_then(Result::ok).unwrap_or_default())
}

/// Fields of type Quantity, which may be written as numbers, by the name of the field that holds them.
const QUANTITIES: [&str; 5] = ["limits", "requests", "capacity", "allocatable", "overhead"];

/// Drops nulls, which mean "absent" in Kubernetes, and writes numeric quantities as strings, which is their type.
fn normalised(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().filter(|(_, v)| !v.is_null());
            let one = |(key, value): (String, Value)| {
                let value = normalised(value);
                if QUANTITIES.contains(&key.as_str()) {
                    (key, quantities(value))
                } else {
                    (key, value)
                }
            };
            Value::Object(fields.map(one).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalised).collect()),
        other => other,
    }
}

fn quantities(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let text = |v: Value| {
                if v.is_number() {
                    Value::String(v.to_string())
                } else {
                    v
                }
            };
            Value::Object(map.into_iter().map(|(k, v)| (k, text(v))).collect())
        }
        other => other,
    }
}
