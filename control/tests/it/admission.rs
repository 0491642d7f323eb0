//! What the API server is told of an object before it stores it.

use serde_json::{Value, json};
use warren_control::admission::AdmissionError;
use warren_control::admission::review::{answer, judge};
use warren_control::index::Config;
use warren_control::pipeline::SharedIndex;
use warren_control::source::decode::decode;
use warren_control::source::dir::document::parse;

use crate::policy_compile::{peer, policy};

pub fn object(yaml: &str) -> Value {
    parse(yaml, false).0.remove(0).value
}

/// An AdmissionReview as the API server sends it.
pub fn review(operation: &str, object: Value, old: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "operation": operation,
            "kind": {"group": "warren.dev", "version": "v1alpha1", "kind": "AuthorizationPolicy"},
            "namespace": "shop",
            "object": object,
            "oldObject": old,
            "options": {"kind": "CreateOptions"},
        },
    })
}

fn index() -> SharedIndex {
    SharedIndex::new(Config::default())
}

/// Every reason is the one that the sources have, since it comes from the same code.
#[test]
fn what_the_sources_refuse_is_refused_with_their_reason() {
    for text in [
        policy("shop", "p", "rules: [{from: [{source: {ipBlocks: [x]}}]}]"),
        policy("shop", "p", "rulez: []"),
        policy("shop", "p", "action: PERMIT"),
        policy("shop", "p", "targetRefs: []"),
        peer("shop", "p", "selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}"),
        "{apiVersion: warren.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: t, namespace: shop}, spec: {}}".into(),
        "{apiVersion: warren.dev/v1, kind: AuthorizationPolicy, metadata: {name: t, namespace: shop}, spec: {}}".into(),
    ] {
        let rejected = decode(object(&text)).expect_err("bad");
        let (body, allowed) = reviewed(&review("CREATE", object(&text), Value::Null));
        let response = &body["response"];
        assert!(!allowed && response["allowed"] == false, "{text}: {body}");
        assert_eq!((&response["uid"], &response["status"]["code"]), (&json!("u-1"), &json!(422)));
        let message = response["status"]["message"].as_str().expect("a message");
        assert!(
            message.contains(&rejected.note.reason) && message.ends_with(&rejected.note.next_step),
            "{message}"
        );
        if let Some(key) = rejected.object {
            assert!(message.starts_with(&format!("{key}: ")), "{message}");
        }
    }
}

#[test]
fn what_is_weaker_than_it_seems_is_taken_with_a_warning() {
    let cases = [
        (
            policy(
                "shop",
                "p",
                "rules: [{to: [{operation: {methods: [GET]}}]}]",
            ),
            "cannot be checked at L4",
        ),
        (
            policy("shop", "p", "selector: {matchLabels: {app: x}}"),
            "chooses no pod in namespace shop",
        ),
        (
            policy("shop", "p", "targetRefs: [{kind: Service, name: gone}]"),
            "there is no Service gone",
        ),
        (policy("shop", "p", "action: DENY"), "never matches"),
        (
            peer("shop", "p", "mtls: {mode: DISABLE}"),
            "taken as PERMISSIVE",
        ),
        (
            peer("shop", "p", "portLevelMtls: {\"80\": {mode: STRICT}}"),
            "without a selector",
        ),
    ];
    for (text, part) in cases {
        let verdict = judge(object(&text), &Value::Null, &index());
        assert_eq!(verdict.refused, None, "{text}");
        assert_eq!(verdict.warnings.len(), 1, "{text}: {:?}", verdict.warnings);
        let warning = &verdict.warnings[0];
        assert!(
            warning.contains(part) && warning.contains(" shop/p: "),
            "{warning}"
        );
    }
    let good = policy(
        "shop",
        "p",
        "rules: [{from: [{source: {namespaces: [shop]}}]}]",
    );
    assert_eq!(
        judge(object(&good), &Value::Null, &index()),
        Default::default()
    );
}

#[test]
fn warnings_fit_into_headers_and_have_an_end() {
    let rule = "{to: [{operation: {methods: [GET]}}]}";
    let many = policy(
        "shop",
        "p",
        &format!("rules: [{}]", vec![rule; 40].join(", ")),
    );
    let warnings = judge(object(&many), &Value::Null, &index()).warnings;
    assert_eq!(warnings.len(), 17);
    assert_eq!(warnings[16], "and 24 more");
    let name = "ä\n".repeat(2_000);
    let mut long = object(&policy("shop", "p", "rules: []"));
    long["spec"]["rules"] = json!([{"when": [{"key": name, "values": ["x"]}]}]);
    let warnings = judge(long, &Value::Null, &index()).warnings;
    assert!(warnings[0].len() <= 1_024 && !warnings[0].contains(char::is_control));
}

/// What is bad already may be taken apart, and deleted.
#[test]
fn an_update_that_changes_no_meaning_goes_on() {
    let bad = object(&policy(
        "shop",
        "p",
        "rules: [{from: [{source: {ipBlocks: [x]}}]}]",
    ));
    let mut labelled = bad.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let verdict = judge(labelled.clone(), &bad, &index());
    assert_eq!(verdict.refused, None);
    assert!(verdict.warnings[0].contains("neither an IP address nor a CIDR"));
    let mut worse = bad.clone();
    worse["spec"]["action"] = "DENY".into();
    assert!(judge(worse, &bad, &index()).refused.is_some());
    let mut beside = bad.clone();
    beside["action"] = "DENY".into();
    assert!(judge(beside, &bad, &index()).refused.is_some());
    let mut dry = bad.clone();
    dry["metadata"]["annotations"] = json!({"warren.dev/dry-run": "perhaps"});
    assert!(judge(dry, &bad, &index()).refused.is_some());
    let mut leaving = bad.clone();
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    leaving["spec"]["action"] = "DENY".into();
    assert_eq!(judge(leaving, &bad, &index()), Default::default());
    assert!(reviewed(&review("DELETE", Value::Null, bad)).1);
}

#[test]
fn objects_of_others_are_none_of_our_business() {
    for text in [
        "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: 7}",
        "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: p}, spec: 7}",
        "{}",
    ] {
        assert_eq!(
            judge(object(text), &Value::Null, &index()),
            Default::default()
        );
    }
}

fn reviewed(review: &Value) -> (Value, bool) {
    answer(review.to_string().as_bytes(), &index()).expect("a review")
}

#[test]
fn garbage_is_no_review() {
    let good = review("CREATE", object(&peer("shop", "p", "")), Value::Null);
    let mut bodies = vec![
        Vec::new(),
        b"{}".to_vec(),
        b"[[[".repeat(100_000),
        vec![0xff; 100],
        good.to_string().replace("/v1\"", "/v1beta1\"").into_bytes(),
        good.to_string()
            .replace("AdmissionReview", "Review")
            .into_bytes(),
        good.to_string().replace("u-1", "").into_bytes(),
        review("UPDATE", json!(7), Value::Null)
            .to_string()
            .into_bytes(),
    ];
    let text = good.to_string();
    bodies.extend(
        (1..text.len())
            .step_by(7)
            .map(|end| text.as_bytes()[..end].to_vec()),
    );
    for body in bodies {
        let error = answer(&body, &index()).expect_err("no review");
        assert!(matches!(error, AdmissionError::Garbage(_)), "{error}");
        assert_eq!(error.status(), 400);
    }
}
