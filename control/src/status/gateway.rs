//! What objects of the Gateway API are told in their own status. Waypoints do not exist yet, so nothing that asks for one is
//! accepted, and the conditions say so. No I/O.
//!
//! Only what is ours: a GatewayClass that names our controller, Gateways of such a class, and of a route those parents that
//! are such a Gateway or a Service. What other controllers report of a route stays as it is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Observation;
use super::condition::ACCEPTED;
use crate::model::{Id, Kind, ObjectKey};

/// Our name in `spec.controllerName` of a GatewayClass, and in what we report of routes.
pub const CONTROLLER: &str = "warren.dev/gateway-controller";
const PROGRAMMED: &str = "Programmed";
const UNSUPPORTED: &str = "Unsupported";
const GROUP: &str = "gateway.networking.k8s.io";

/// What an object of the Gateway API asks for, and what was reported of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Asks {
    /// A GatewayClass; whether it names us.
    Class(bool),
    /// A Gateway of this class.
    Gateway(String),
    /// A route.
    Route {
        /// `spec.parentRefs`.
        parents: Vec<Value>,
        /// `status.parents`.
        reported: Vec<Value>,
    },
}

impl Asks {
    /// Reads what an object asks for.
    pub fn of(kind: Kind, data: &Value) -> Self {
        let text = |p: &str| data.pointer(p).and_then(Value::as_str).unwrap_or_default();
        let list = |p: &str| data.pointer(p).and_then(Value::as_array).cloned();
        match kind {
            Kind::GatewayClass => Self::Class(text("/spec/controllerName") == CONTROLLER),
            Kind::Gateway => Self::Gateway(text("/spec/gatewayClassName").to_owned()),
            _ => Self::Route {
                parents: list("/spec/parentRefs").unwrap_or_default(),
                reported: list("/status/parents").unwrap_or_default(),
            },
        }
    }
}

/// Whose classes and Gateways are ours.
pub trait Owned {
    /// Whether the GatewayClass of this name is.
    fn class(&self, name: &str) -> bool;
    /// Whether the Gateway of this name is.
    fn gateway(&self, id: &Id) -> bool;
}

/// Whether the object is ours to report of, and the status that is due; None where it stands there already.
pub fn due(
    key: &ObjectKey,
    seen: &Observation,
    owned: &impl Owned,
    now: Timestamp,
) -> (bool, Option<Value>) {
    match seen.asks.as_ref() {
        Some(Asks::Class(ours)) => {
            let conditions = [(ACCEPTED, class_message())];
            (*ours, ours.then(|| own(seen, &conditions, now)).flatten())
        }
        Some(Asks::Gateway(class)) => {
            let ours = owned.class(class);
            let conditions = [
                (ACCEPTED, gateway_message()),
                (PROGRAMMED, gateway_message()),
            ];
            (ours, ours.then(|| own(seen, &conditions, now)).flatten())
        }
        Some(Asks::Route { parents, reported }) => {
            let ours = parents.iter().filter(|p| is_ours(key, p, owned));
            let others = reported
                .iter()
                .filter(|r| r["controllerName"] != CONTROLLER);
            let mut entries: Vec<Value> = others.cloned().collect();
            let foreign = entries.len();
            entries.extend(ours.map(|p| entry(key.kind, seen, p, reported, now)));
            let concerns_us = entries.len() > foreign;
            let due = (entries != *reported).then(|| json!({"parents": entries}));
            (concerns_us, due)
        }
        None => (false, None),
    }
}

fn is_ours(key: &ObjectKey, parent: &Value, owned: &impl Owned) -> bool {
    let text = |field: &str, default: &'static str| {
        let given = parent.get(field).and_then(Value::as_str);
        given.unwrap_or(default).to_owned()
    };
    match (&*text("group", GROUP), &*text("kind", "Gateway")) {
        ("" | "core", "Service") => true,
        (GROUP, "Gateway") => {
            let namespace = parent.get("namespace").and_then(Value::as_str);
            let namespace = namespace.unwrap_or(&key.id.namespace);
            owned.gateway(&Id::new(namespace, text("name", "")))
        }
        _ => false,
    }
}

fn entry(
    kind: Kind,
    seen: &Observation,
    parent: &Value,
    reported: &[Value],
    now: Timestamp,
) -> Value {
    let before = reported
        .iter()
        .find(|r| r["controllerName"] == CONTROLLER && r["parentRef"] == *parent)
        .and_then(|r| serde_json::from_value(r["conditions"].clone()).ok());
    let before: Vec<Condition> = before.unwrap_or_default();
    let condition = refusal(ACCEPTED, route_message(kind), seen.generation, &before, now);
    json!({
        "parentRef": parent,
        "controllerName": CONTROLLER,
        "conditions": [condition],
    })
}

/// The object's own conditions, with these among them; None where they are.
fn own(seen: &Observation, wanted: &[(&str, String)], now: Timestamp) -> Option<Value> {
    let mut conditions = seen.conditions.clone();
    for (type_, message) in wanted {
        let new = refusal(
            type_,
            message.clone(),
            seen.generation,
            &seen.conditions,
            now,
        );
        match conditions.iter_mut().find(|c| c.type_ == *type_) {
            Some(old) => *old = new,
            None => conditions.push(new),
        }
    }
    (conditions != seen.conditions).then(|| json!({"conditions": conditions}))
}

fn refusal(
    type_: &str,
    message: String,
    generation: i64,
    before: &[Condition],
    now: Timestamp,
) -> Condition {
    let before = before.iter().find(|c| c.type_ == type_);
    let since = before
        .filter(|c| c.status == "False")
        .map(|c| c.last_transition_time.clone());
    Condition {
        type_: type_.to_owned(),
        status: "False".to_owned(),
        reason: UNSUPPORTED.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: since.unwrap_or(Time(now)),
    }
}

fn class_message() -> String {
    "this release has no waypoints and no east-west gateways, so Gateways of this class are not served".to_owned()
}

fn gateway_message() -> String {
    "this release has no waypoints and no east-west gateways, so nothing runs for this Gateway; remove it, or wait for a release that has them".to_owned()
}

fn route_message(kind: Kind) -> String {
    format!(
        "a {kind} takes a waypoint, which this release does not have, so it has no effect: connections go to the Service's endpoints directly"
    )
}
