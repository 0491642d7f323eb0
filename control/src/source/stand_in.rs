//! What stands in for a policy that cannot be read and of which no earlier version is known: it closes the workloads or Services
//! that the policy names. An ALLOW is present and matches nothing; a DENY matches everything; a PeerAuthentication is STRICT.
//! What only reports has none; nor has what names nobody, since one bad object must not take a namespace or the mesh down.

use serde::Deserialize;
use serde_json::{Map, Value};
use warren_crds::authorization_policy::{Action, Rule};
use warren_crds::peer_authentication::{Mode, MutualTls};
use warren_crds::{
    AuthorizationPolicySpec, PeerAuthenticationSpec, TargetReference, WorkloadSelector,
};

use super::unknown;
use crate::model::labels::DRY_RUN;
use crate::model::{Kind, Labels, Meta, Object};

/// An object that closes, and how to say so.
#[derive(Clone, Debug, PartialEq)]
pub struct StandIn {
    /// The object.
    pub object: Object,
    /// What it does, as a part of a sentence.
    pub effect: String,
}

/// The stand-in of a document that was refused; None for kinds that close nothing, for what only reports, and for what names nobody.
pub fn of(kind: Kind, meta: Meta, value: &Value) -> Option<StandIn> {
    match kind {
        Kind::AuthorizationPolicy => authorization(meta, value),
        Kind::PeerAuthentication => peer(meta, value),
        _ => None,
    }
}

/// Which destinations the document names.
enum Scope {
    Pods(Labels),
    Services(Vec<TargetReference>),
}

fn authorization(meta: Meta, value: &Value) -> Option<StandIn> {
    let dry_run = format!("/metadata/annotations/{}", DRY_RUN.replace('/', "~1"));
    if value.pointer(&dry_run).and_then(Value::as_str) == Some("true") {
        return None;
    }
    let deny = match value.pointer("/spec/action").and_then(Value::as_str) {
        Some("AUDIT") => return None,
        action => action == Some("DENY"),
    };
    let scope = scope(value)?;
    let covered = covered(&scope);
    let (action, rules, effect) = match deny {
        true => (
            Action::Deny,
            vec![Rule::default()],
            format!("every connection to {covered} is refused"),
        ),
        false => (
            Action::Allow,
            Vec::new(),
            format!("it counts as an ALLOW that matches nothing, for {covered}"),
        ),
    };
    let (selector, target_refs) = match scope {
        Scope::Pods(match_labels) => (Some(WorkloadSelector { match_labels }), None),
        Scope::Services(targets) => (None, Some(targets)),
    };
    let spec = AuthorizationPolicySpec {
        selector,
        target_refs,
        rules: Some(rules),
        action,
    };
    let object = Object::AuthorizationPolicy(bare(meta), Box::new(spec));
    Some(StandIn { object, effect })
}

fn peer(meta: Meta, value: &Value) -> Option<StandIn> {
    if never_strict(value) {
        return None;
    }
    let scope = scope(value)?;
    let effect = format!("plaintext to {} is refused", covered(&scope));
    let Scope::Pods(match_labels) = scope else {
        return None;
    };
    let spec = PeerAuthenticationSpec {
        selector: Some(WorkloadSelector { match_labels }),
        mtls: Some(MutualTls { mode: Mode::Strict }),
        port_level_mtls: None,
    };
    let object = Object::PeerAuthentication(bare(meta), Box::new(spec));
    Some(StandIn { object, effect })
}

/// Whether every mode in it can be read, and none is STRICT.
fn never_strict(value: &Value) -> bool {
    let given = &value["spec"];
    let Ok(spec) = PeerAuthenticationSpec::deserialize(given) else {
        return false;
    };
    let known = serde_json::to_value(&spec).unwrap_or_default();
    let mut modes = spec
        .mtls
        .iter()
        .chain(spec.port_level_mtls.iter().flat_map(|p| p.values()));
    unknown::fields(given, &known).is_empty() && modes.all(|m| m.mode != Mode::Strict)
}

/// None where there is not exactly a selector or targetRefs of Services that can be read.
fn scope(value: &Value) -> Option<Scope> {
    let spec = value.get("spec")?.as_object()?;
    match (spec.get("selector"), spec.get("targetRefs")) {
        (Some(selector), None) => selected(selector).map(Scope::Pods),
        (None, Some(targets)) => targeted(targets).map(Scope::Services),
        _ => None,
    }
}

fn selected(selector: &Value) -> Option<Labels> {
    let fields = selector.as_object()?;
    let labels = fields.get("matchLabels").filter(|_| fields.len() == 1)?;
    let labels = Labels::deserialize(labels).ok()?;
    Some(labels).filter(|l| !l.is_empty())
}

fn targeted(targets: &Value) -> Option<Vec<TargetReference>> {
    let is_known = |fields: &Map<String, Value>| {
        let known = ["group", "kind", "name"];
        fields.keys().all(|k| known.contains(&k.as_str()))
    };
    let one = |target: &Value| {
        let _ = target.as_object().filter(|f| is_known(f))?;
        TargetReference::deserialize(target).ok()
    };
    let targets: Option<Vec<_>> = targets.as_array()?.iter().map(one).collect();
    targets.filter(|t| !t.is_empty())
}

fn covered(scope: &Scope) -> String {
    match scope {
        Scope::Pods(labels) => {
            let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("pods labelled {}", pairs.join(","))
        }
        Scope::Services(targets) => {
            let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
            format!("the ports of {}", names.join(", "))
        }
    }
}

/// Its annotations may be what cannot be read.
fn bare(mut meta: Meta) -> Meta {
    meta.annotations.clear();
    meta
}
