//! What every response must keep, so that a stock tunnel reads it rightly.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{Resource, Response, Type};

/// What was received so far, as far as the checks need it.
#[derive(Debug, Default)]
pub struct Known {
    /// Policies received and not removed.
    pub policies: BTreeSet<String>,
    /// Names subscribed to one by one.
    pub asked: BTreeSet<String>,
}

/// What is wrong with a response; `known` already holds what came before it.
pub fn check(response: &Response, known: &Known) -> Vec<String> {
    let mut wrong = response.findings.clone();
    if response.nonce.is_empty() {
        wrong.push("a response without a nonce".into());
    }
    for resource in &response.resources {
        if resource.type_url != response.kind.url() {
            wrong.push(format!(
                "{}: carries {:?}",
                resource.name, resource.type_url
            ));
        }
        if resource.version.is_empty() {
            wrong.push(format!("{}: without a version", resource.name));
        }
        match response.kind {
            Type::Address => address(resource, known, &mut wrong),
            Type::Authorization => authorization(resource, &mut wrong),
        }
    }
    for name in &response.removed {
        if response.resources.iter().any(|r| r.name == *name) {
            wrong.push(format!("{name}: sent and removed in one response"));
        }
    }
    wrong
}

fn address(resource: &Resource, known: &Known, wrong: &mut Vec<String>) {
    let name = &resource.name;
    let (workload, service) = (&resource.value["workload"], &resource.value["service"]);
    let own = match (workload.is_object(), service.is_object()) {
        (true, false) => text(&workload["uid"]).to_owned(),
        (false, true) => format!(
            "{}/{}",
            text(&service["namespace"]),
            text(&service["hostname"])
        ),
        _ => {
            wrong.push(format!("{name}: neither a workload nor a service"));
            return;
        }
    };
    if *name != own && !known.asked.contains(name) {
        wrong.push(format!(
            "{name}: is {own}, and nobody asked for it by that name"
        ));
    }
    for policy in workload["authorization_policies"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if !known.policies.contains(text(policy)) {
            wrong.push(format!(
                "{name}: names policy {policy} that was not sent before"
            ));
        }
    }
    if workload.is_object() {
        self::workload(name, workload, wrong);
    }
}

fn workload(name: &str, workload: &Json, wrong: &mut Vec<String>) {
    for field in ["uid", "name", "namespace", "service_account"] {
        if text(&workload[field]).is_empty() {
            wrong.push(format!("{name}: without {field}"));
        }
    }
    for key in workload["services"]
        .as_object()
        .into_iter()
        .flat_map(|s| s.keys())
    {
        if key.split('/').count() != 2 {
            wrong.push(format!(
                "{name}: service key {key:?} is not NAMESPACE/HOSTNAME"
            ));
        }
    }
}

fn authorization(resource: &Resource, wrong: &mut Vec<String>) {
    let name = &resource.name;
    let own = format!(
        "{}/{}",
        text(&resource.value["namespace"]),
        text(&resource.value["name"])
    );
    if *name != own {
        wrong.push(format!("{name}: is {own}"));
    }
    for principal in principals(&resource.value) {
        if principal.starts_with("spiffe://") {
            wrong.push(format!(
                "{name}: principal {principal} begins with spiffe://"
            ));
        }
    }
}

fn principals(policy: &Json) -> Vec<String> {
    let mut found = Vec::new();
    let list = |v: &Json| v.as_array().cloned().unwrap_or_default();
    for rule in list(&policy["rules"]) {
        for clause in list(&rule["clauses"]) {
            for one in list(&clause["matches"]) {
                for field in ["principals", "not_principals"] {
                    let exact = list(&one[field])
                        .into_iter()
                        .map(|s| text(&s["exact"]).to_owned());
                    found.extend(exact);
                }
            }
        }
    }
    found
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn response(kind: Type, name: &str, value: Json) -> Response {
        let resource = Resource {
            name: name.into(),
            version: "1".into(),
            aliases: vec![],
            type_url: kind.url().into(),
            value,
        };
        Response {
            kind,
            resources: vec![resource],
            removed: vec![],
            nonce: "1".into(),
            findings: vec![],
        }
    }

    #[test]
    fn an_address_before_its_policy_is_found() {
        let value = json!({"workload": {"uid": "K//Pod/shop/web", "name": "web", "namespace": "shop",
            "service_account": "web", "authorization_policies": ["shop/deny"]}});
        let sent = response(Type::Address, "K//Pod/shop/web", value);
        let mut known = Known::default();
        assert!(check(&sent, &known)[0].contains("not sent before"));
        known.policies.insert("shop/deny".into());
        assert!(check(&sent, &known).is_empty());
    }

    #[test]
    fn a_name_that_nobody_asked_for_is_found() {
        let value = json!({"service": {"namespace": "shop", "hostname": "web.shop.svc"}});
        let mut known = Known::default();
        assert!(
            check(
                &response(Type::Address, "shop/web.shop.svc", value.clone()),
                &known
            )
            .is_empty()
        );
        let sent = response(Type::Address, "/10.0.0.1", value);
        assert_eq!(check(&sent, &known).len(), 1);
        known.asked.insert("/10.0.0.1".into());
        assert!(check(&sent, &known).is_empty());
    }

    #[test]
    fn principals_have_no_scheme() {
        let value = json!({"name": "a", "namespace": "shop", "rules": [{"clauses": [{"matches": [
            {"principals": [{"exact": "spiffe://cluster.local/ns/a/sa/b"}]}]}]}]});
        assert_eq!(
            check(
                &response(Type::Authorization, "shop/a", value),
                &Known::default()
            )
            .len(),
            1
        );
    }
}
