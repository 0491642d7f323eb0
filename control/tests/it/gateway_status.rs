//! What objects of the Gateway API are told: only what is ours, and only what is true.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use warren_control::model::{Id, Kind, ObjectKey};
use warren_control::status::Observation;
use warren_control::status::gateway::{Asks, CONTROLLER, Owned, due};

/// Of the classes `ours` is, and of the Gateways shop/ours.
struct Ours;

impl Owned for Ours {
    fn class(&self, name: &str) -> bool {
        name == "ours"
    }

    fn gateway(&self, id: &Id) -> bool {
        *id == Id::new("shop", "ours")
    }
}

fn seen(kind: Kind, data: &Value) -> (ObjectKey, Observation) {
    let namespace = if kind.is_namespaced() { "shop" } else { "" };
    let key = ObjectKey {
        kind,
        id: Id::new(namespace, "x"),
    };
    let conditions = data.pointer("/status/conditions").cloned();
    let seen = Observation {
        generation: 3,
        conditions: conditions.map_or_else(Vec::new, |c| serde_json::from_value(c).expect("good")),
        asks: Some(Asks::of(kind, data)),
        ..Observation::default()
    };
    (key, seen)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// What is due of an object, with that merged into it; and that nothing is due after that.
fn written(kind: Kind, mut data: Value) -> Value {
    let (key, first) = seen(kind, &data);
    let (ours, status) = due(&key, &first, &Ours, at(10));
    let status = status.expect("due");
    assert!(ours);
    data["status"] = status.clone();
    let (key, second) = seen(kind, &data);
    assert_eq!(due(&key, &second, &Ours, at(20)), (true, None), "once");
    status
}

fn nothing(kind: Kind, data: &Value) {
    let (key, seen) = seen(kind, data);
    assert_eq!(due(&key, &seen, &Ours, at(10)), (false, None), "{data}");
}

fn is_refusal(condition: &Value, type_: &str) {
    assert_eq!(condition["type"], type_);
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("Unsupported"))
    );
    assert_eq!(condition["observedGeneration"], 3);
    let message = condition["message"].as_str().expect("text");
    assert!(message.contains("this release"), "{message}");
}

#[test]
fn classes_and_gateways() {
    let class = |controller: &str| json!({"spec": {"controllerName": controller}});
    let status = written(Kind::GatewayClass, class(CONTROLLER));
    is_refusal(&status["conditions"][0], "Accepted");
    nothing(Kind::GatewayClass, &class("example.com/other"));

    let gateway = |class: &str| json!({"spec": {"gatewayClassName": class}});
    nothing(Kind::Gateway, &gateway("other"));
    let mut given = gateway("ours");
    // As the CRD's default has it, and a condition that somebody else wrote.
    let waiting = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "Pending", "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z"});
    given["status"] =
        json!({"conditions": [waiting("Programmed", "Unknown"), waiting("Others", "True")]});
    let status = written(Kind::Gateway, given);
    let conditions = status["conditions"].as_array().expect("a list");
    assert_eq!(conditions.len(), 3);
    is_refusal(&conditions[0], "Programmed");
    assert_eq!(conditions[1]["status"], "True");
    is_refusal(&conditions[2], "Accepted");
}

#[test]
fn of_a_route_only_our_parents_are_reported() {
    let service = json!({"group": "", "kind": "Service", "name": "web", "port": 80});
    let ours = json!({"name": "ours"});
    let other = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "other"});
    let elsewhere = json!({"name": "ours", "namespace": "bank"});
    let report = |parent: &Value, controller: &str| json!({"parentRef": parent, "controllerName": controller, "conditions": []});
    let theirs = report(&service, "example.com/mesh");
    let data = json!({
        "spec": {"parentRefs": [service, ours, other, elsewhere]},
        "status": {"parents": [report(&json!({"name": "gone"}), CONTROLLER), theirs]},
    });
    let status = written(Kind::HTTPRoute, data);
    let parents = status["parents"].as_array().expect("a list");
    assert_eq!(parents.len(), 3);
    assert_eq!(parents[0], theirs, "as it was");
    for (entry, parent) in parents[1..].iter().zip([&service, &ours]) {
        assert_eq!(
            (&entry["parentRef"], &entry["controllerName"]),
            (parent, &json!(CONTROLLER))
        );
        is_refusal(&entry["conditions"][0], "Accepted");
    }
    nothing(
        Kind::HTTPRoute,
        &json!({"spec": {"parentRefs": [other]}, "status": {"parents": [theirs]}}),
    );
    nothing(Kind::TCPRoute, &json!({"spec": {}}));
    // What was ours once is taken back.
    let data = json!({"spec": {"parentRefs": [other]}, "status": {"parents": [theirs, report(&other, CONTROLLER)]}});
    let (key, seen) = seen(Kind::GRPCRoute, &data);
    assert_eq!(
        due(&key, &seen, &Ours, at(10)),
        (false, Some(json!({"parents": [theirs]})))
    );
}
