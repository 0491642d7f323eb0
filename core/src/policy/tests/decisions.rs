//! Several policies together: precedence, default, audit, STRICT.

use super::fixtures::*;
use super::*;

enum Expect {
    NoPolicy,
    By(&'static str),
    DeniedBy(&'static str),
    NoAllow,
}
use Expect::{By, DeniedBy, NoAllow, NoPolicy};

fn check(what: &str, conn: &Connection, policies: &[Policy], expected: &Expect) {
    let key = |name: &str| PolicyKey::new("shop", name);
    let (outcome, reason) = match expected {
        NoPolicy => (Outcome::Allow, Reason::NoPolicy),
        By(name) => (Outcome::Allow, Reason::AllowedBy(key(name))),
        DeniedBy(name) => (Outcome::Deny, Reason::DeniedBy(key(name))),
        NoAllow => (Outcome::Deny, Reason::NoAllowMatched),
    };
    let decision = evaluate(conn, policies);
    assert_eq!(
        (decision.outcome, decision.reason),
        (outcome, reason),
        "{what}"
    );
}

fn from_shop() -> Vec<Rule> {
    when([ns(&["shop"])])
}
fn from_bank() -> Vec<Rule> {
    when([ns(&["bank"])])
}

#[test]
#[rustfmt::skip]
fn precedence_and_default() {
    let rows: Vec<(&str, Connection, Vec<Policy>, Expect)> = vec![
        ("no policy: open",                     web(),   vec![],                                                             NoPolicy),
        ("no policy: open to plaintext too",    plain(), vec![],                                                             NoPolicy),
        ("ALLOW matches",                       web(),   vec![allow("a", from_shop())],                                      By("a")),
        ("ALLOW does not match: default deny",  web(),   vec![allow("a", from_bank())],                                      NoAllow),
        ("ALLOW of an identity, plaintext",     plain(), vec![allow("a", from_shop())],                                      NoAllow),
        ("one of two ALLOWs matches",           web(),   vec![allow("a", from_bank()), allow("b", from_shop())],             By("b")),
        ("of two that match the first by name", web(),   vec![allow("b", from_shop()), allow("a", from_shop())],             By("a")),
        ("allow-nothing: `spec: {}`",           web(),   vec![allow("none", never())],                                       NoAllow),
        ("allow-nothing beside an ALLOW",       web(),   vec![allow("none", never()), allow("a", from_shop())],              By("a")),
        ("allow-all: `rules: [{}]`",            plain(), vec![allow("all", always())],                                       By("all")),
        ("DENY matches",                        web(),   vec![deny("d", from_shop())],                                       DeniedBy("d")),
        ("DENY does not match: open",           web(),   vec![deny("d", from_bank())],                                       NoPolicy),
        ("DENY without rules never matches",    web(),   vec![deny("d", never())],                                           NoPolicy),
        ("deny-all",                            plain(), vec![deny("all", always())],                                        DeniedBy("all")),
        ("DENY goes before ALLOW",              web(),   vec![allow("a", from_shop()), deny("d", from_shop())],              DeniedBy("d")),
        ("DENY goes before allow-all",          web(),   vec![allow("all", always()), deny("d", from_shop())],               DeniedBy("d")),
        ("DENY misses, ALLOW matches",          web(),   vec![deny("d", from_bank()), allow("a", from_shop())],              By("a")),
        ("DENY misses, ALLOW misses",           web(),   vec![deny("d", from_bank()), allow("a", from_bank())],              NoAllow),
        ("of two DENYs the first by name",      web(),   vec![deny("e", always()), deny("d", always())],                     DeniedBy("d")),
        ("DENY of all but a namespace: inside", web(),   vec![deny("d", when([not_ns(&["shop"])]))],                         NoPolicy),
        ("DENY of all but a namespace: plaintext", plain(), vec![deny("d", when([not_ns(&["shop"])]))],                      DeniedBy("d")),
        ("DENY of a port from elsewhere",       web(),   vec![deny("d", when([all([not_src(&["10.1.0.0/16"]), port(&[8080])])]))], NoPolicy),
    ];
    for (what, conn, policies, expected) in rows {
        check(what, &conn, &policies, &expected);
    }
}

#[test]
#[rustfmt::skip]
fn strict() {
    let port_level = || deny("strict", when([all([not_principal(&["*"]), not_port(&[8080])])]));
    let rows: Vec<(&str, Connection, Vec<Policy>, Expect)> = vec![
        ("STRICT refuses plaintext",            plain(), vec![fixtures::strict()],                                           DeniedBy("strict")),
        ("STRICT takes mTLS",                   web(),   vec![fixtures::strict()],                                           NoPolicy),
        ("STRICT is no ALLOW",                  web(),   vec![fixtures::strict(), allow("a", from_shop())],                  By("a")),
        ("STRICT opens nothing",                web(),   vec![fixtures::strict(), allow("a", from_bank())],                  NoAllow),
        ("STRICT goes before an ALLOW by address", plain(), vec![fixtures::strict(), allow("a", when([src(&["10.0.0.0/8"])]))], DeniedBy("strict")),
        ("PERMISSIVE on this port",             plain(), vec![port_level()],                                                 NoPolicy),
        ("PERMISSIVE on this port, and an ALLOW", plain(), vec![port_level(), allow("a", from_shop())],                      NoAllow),
    ];
    for (what, conn, policies, expected) in rows {
        check(what, &conn, &policies, &expected);
    }
}

#[test]
#[rustfmt::skip]
fn audit_only_policies_decide_nothing() {
    let rows: Vec<(&str, Connection, Vec<Policy>, Expect)> = vec![
        ("AUDIT matches",                       web(),   vec![audit("u", always())],                                         NoPolicy),
        ("AUDIT does not match",                web(),   vec![audit("u", from_bank())],                                      NoPolicy),
        ("AUDIT is no present ALLOW",           web(),   vec![policy("u", Action::Allow, Some(Audit::Audit), from_bank())],  NoPolicy),
        ("dry-run DENY matches",                web(),   vec![dry_run("u", Action::Deny, always())],                         NoPolicy),
        ("dry-run ALLOW is no present ALLOW",   web(),   vec![dry_run("u", Action::Allow, from_bank())],                     NoPolicy),
        ("dry-run ALLOW opens nothing",         web(),   vec![dry_run("u", Action::Allow, always()), allow("a", from_bank())], NoAllow),
        ("AUDIT beside an ALLOW",               web(),   vec![audit("u", always()), allow("a", from_shop())],                By("a")),
        ("AUDIT beside a DENY",                 web(),   vec![audit("u", always()), deny("d", always())],                    DeniedBy("d")),
    ];
    for (what, conn, policies, expected) in rows {
        check(what, &conn, &policies, &expected);
    }
}

#[test]
fn audited_names_what_matched_in_order_and_once() {
    let policies = [
        dry_run("z", Action::Allow, from_shop()),
        audit("b", always()),
        audit("missed", from_bank()),
        audit("b", always()),
        deny("d", always()),
    ];
    let decision = evaluate(&web(), &policies);
    let key = |name: &str| PolicyKey::new("shop", name);
    assert_eq!(
        decision.audited,
        [(key("b"), Audit::Audit), (key("z"), Audit::DryRun)]
    );
    assert_eq!(decision.reason.policy(), Some(&key("d")));
}

#[test]
fn an_unknown_policy_closes() {
    let missing = PolicyKey::new("shop", "late");
    let unknown: Result<Vec<&Policy>, _> = Err(missing.clone());
    let decision = evaluate_known(&web(), unknown);
    assert_eq!(decision, Decision::unknown_policy(missing.clone()));
    assert!(!decision.is_allowed());
    assert_eq!(decision.reason, Reason::UnknownPolicy(missing));
    let all = allow("all", always());
    assert!(evaluate_known(&web(), Ok([&all])).is_allowed());
}
