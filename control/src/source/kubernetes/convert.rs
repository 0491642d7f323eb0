//! The API server's objects, cut down to what the index takes.

use std::sync::Arc;

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use serde_json::Value;

use crate::model::labels::MESH;
use crate::model::{EndpointSlice, Id, Kind, Meta, Object, Pod, Service};
use crate::source::decode::{self, Decoded, Note};
use crate::source::stand_in::StandIn;
use crate::status::Observation;
use crate::status::gateway::Asks;

/// What is left of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    /// The object; None where it decides nothing or cannot be taken.
    pub object: Option<Object>,
    /// What of it has no effect.
    pub notes: Vec<Note>,
    /// What its status says now, for kinds whose status we write.
    pub observed: Option<Observation>,
    /// What closes in its place where it cannot be taken and no earlier version is known.
    pub stand_in: Option<Box<StandIn>>,
}

/// A Namespace, by its metadata.
pub fn namespace(o: &PartialObjectMeta<core::Namespace>) -> Item {
    let meta = meta(Kind::Namespace, &o.metadata);
    let mesh = meta.labels.get(MESH).is_some_and(|v| v == "enabled");
    let leaving = o.metadata.deletion_timestamp.is_some() && mesh;
    let note = leaving.then(|| Note {
        reason: "is being deleted: its pods stay in the mesh, under its policies, until they have ended, and no new ones start".into(),
        next_step: "wait for its end; `kubectl get namespace -o yaml` says what it waits for".into(),
    });
    Item {
        notes: note.into_iter().collect(),
        ..plain(Object::Namespace(meta))
    }
}

/// A Node, by its metadata.
pub fn node(o: &PartialObjectMeta<core::Node>) -> Item {
    plain(Object::Node(meta(Kind::Node, &o.metadata)))
}

/// A ServiceAccount, by its metadata.
pub fn service_account(o: &PartialObjectMeta<core::ServiceAccount>) -> Item {
    let mut meta = meta(Kind::ServiceAccount, &o.metadata);
    meta.labels.clear();
    plain(Object::ServiceAccount(meta))
}

/// A Pod.
pub fn pod(o: &core::Pod) -> Item {
    let (pod, problems) = Pod::from_kubernetes(meta(Kind::Pod, &o.metadata), o);
    noted(Object::Pod(pod.into()), problems)
}

/// A Service.
pub fn service(o: &core::Service) -> Item {
    let (service, problems) = Service::from_kubernetes(meta(Kind::Service, &o.metadata), o);
    noted(Object::Service(service.into()), problems)
}

/// An EndpointSlice.
pub fn slice(o: &discovery::EndpointSlice) -> Item {
    let meta = meta(Kind::EndpointSlice, &o.metadata);
    let (slice, problems) = EndpointSlice::from_kubernetes(meta, o);
    noted(Object::EndpointSlice(slice.into()), problems)
}

/// An object of `warren.dev`. It is read without a type, so that one that a later release wrote, or that got past the
/// schema, stops no other.
pub fn policy(resource: &ApiResource, o: &DynamicObject) -> Item {
    let mut observed = observation(o);
    match decode::decode(value(resource, o)) {
        Ok(Decoded { object, notes }) => Item {
            object,
            notes,
            observed: Some(observed),
            stand_in: None,
        },
        Err(rejected) => {
            observed.rejected = true;
            Item {
                object: None,
                notes: vec![rejected.note],
                observed: Some(observed),
                stand_in: rejected.stand_in,
            }
        }
    }
}

/// An object of the Gateway API: what asks something of the mesh gets a note, and a status where it is ours.
pub fn gateway(kind: Kind, resource: &ApiResource, o: &DynamicObject) -> Item {
    let observed = Observation {
        asks: Some(Asks::of(kind, &o.data)),
        ..observation(o)
    };
    if !concerns_mesh(&o.data) {
        return Item {
            observed: Some(observed),
            ..Item::default()
        };
    }
    let notes = match decode::decode(value(resource, o)) {
        Ok(Decoded { notes, .. }) => notes,
        Err(rejected) => vec![rejected.note],
    };
    Item {
        notes,
        observed: Some(observed),
        ..Item::default()
    }
}

fn observation(o: &DynamicObject) -> Observation {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    Observation {
        uid: text(&o.metadata.uid),
        version: text(&o.metadata.resource_version),
        generation: o.metadata.generation.unwrap_or_default(),
        rejected: false,
        conditions: conditions(&o.data),
        asks: None,
    }
}

/// A Gateway of one of our classes, or a route for a Service.
fn concerns_mesh(data: &Value) -> bool {
    let class = data.pointer("/spec/gatewayClassName");
    let parents = data.pointer("/spec/parentRefs").and_then(Value::as_array);
    class
        .and_then(Value::as_str)
        .is_some_and(|c| c.starts_with("warren-"))
        || parents
            .into_iter()
            .flatten()
            .any(|p| p.get("kind").and_then(Value::as_str) == Some("Service"))
}

/// Namespace and name.
pub fn id(meta: &ObjectMeta) -> Id {
    Id::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

fn meta(kind: Kind, given: &ObjectMeta) -> Meta {
    let mut id = id(given);
    if !kind.is_namespaced() {
        id.namespace = Arc::from("");
    }
    decode::meta(id, given)
}

/// The whole document; items of a list may come without their type.
fn value(resource: &ApiResource, o: &DynamicObject) -> Value {
    let mut o = o.clone();
    o.metadata.managed_fields = None;
    o.types = Some(kube::api::TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
    serde_json::to_value(&o).unwrap_or_default()
}

/// Conditions that cannot be read are written anew.
fn conditions(data: &Value) -> Vec<Condition> {
    data.pointer("/status/conditions")
        .and_then(|c| serde_json::from_value(c.clone()).ok())
        .unwrap_or_default()
}

fn plain(object: Object) -> Item {
    noted(object, Vec::new())
}

fn noted(object: Object, problems: Vec<String>) -> Item {
    Item {
        object: Some(object),
        notes: problems.into_iter().map(Note::part).collect(),
        ..Item::default()
    }
}
