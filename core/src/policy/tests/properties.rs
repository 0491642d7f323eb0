//! What holds for any policies and any connection.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::fixtures::*;
use super::*;

/// Few names and addresses, so that generated policies and connections often meet.
const NAMESPACES: [&str; 3] = ["shop", "shed", "bank"];
const ACCOUNTS: [&str; 2] = ["web", "db"];
const PORTS: [u16; 3] = [80, 443, 8080];
const ADDRESSES: [&str; 4] = ["10.1.2.3", "10.2.2.3", "192.168.0.1", "fd00:1::3"];
const NETS: [&str; 6] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "::ffff:10.2.0.0/112",
    "0.0.0.0/0",
    "fd00::/16",
    "::/0",
];
const TEXTS: [&str; 5] = ["*", "shop", "sh*", "*k", "cluster.local/ns/shop/sa/web"];
const PRINCIPALS: [&str; 4] = [
    "*",
    "cluster.local/ns/shop/sa/web",
    "cluster.local/ns/sh*",
    "*/sa/db",
];
const SERVICE_ACCOUNTS: [&str; 3] = ["shop/web", "bank/db", "shed/web"];

fn connection() -> impl Strategy<Value = Connection> {
    let identity = proptest::option::of((select(&NAMESPACES[..]), select(&ACCOUNTS[..])));
    (
        identity,
        select(&ADDRESSES[..]),
        select(&ADDRESSES[..]),
        select(&PORTS[..]),
    )
        .prop_map(|(identity, source, destination, port)| {
            let ip = |s: &str| s.parse::<IpAddr>().expect("address of the alphabet");
            Connection {
                identity: identity.map(|(ns, sa)| Identity::new("", ns, sa)),
                source: SocketAddr::new(ip(source), 40000),
                destination: SocketAddr::new(ip(destination), port),
            }
        })
}

/// A match with one field; `negated` chooses which of the two.
fn one_field(negated: bool) -> impl Strategy<Value = Match> {
    let texts = |of: &'static [&'static str]| subsequence(of, 1..=2);
    let pick = move |positive: fn(&[&str]) -> Match, negative: fn(&[&str]) -> Match| {
        move |values: Vec<&'static str>| {
            if negated {
                negative(&values)
            } else {
                positive(&values)
            }
        }
    };
    prop_oneof![
        texts(&TEXTS).prop_map(pick(ns, not_ns)),
        texts(&PRINCIPALS).prop_map(pick(principal, not_principal)),
        texts(&SERVICE_ACCOUNTS).prop_map(pick(sa, not_sa)),
        texts(&NETS).prop_map(pick(src, not_src)),
        texts(&NETS).prop_map(pick(dst, not_dst)),
        subsequence(&PORTS[..], 1..=2).prop_map(move |p| if negated {
            not_port(&p)
        } else {
            port(&p)
        }),
    ]
}

fn any_field() -> impl Strategy<Value = Match> {
    proptest::bool::ANY.prop_flat_map(one_field)
}

fn a_match() -> impl Strategy<Value = Match> {
    prop_oneof![
        1 => Just(Match::default()),
        6 => any_field(),
        3 => (any_field(), any_field()).prop_map(|(a, b)| all([a, b])),
    ]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let clause = prop::collection::vec(a_match(), 0..3).prop_map(|matches| Clause { matches });
    let rule = prop::collection::vec(clause, 0..3).prop_map(|clauses| Rule { clauses });
    prop::collection::vec(rule, 0..3)
}

fn enforced() -> impl Strategy<Value = Policy> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    ("[a-f]", action, rules()).prop_map(|(name, action, rules)| policy(&name, action, None, rules))
}

fn reported() -> impl Strategy<Value = Policy> {
    let audit = prop_oneof![Just(Audit::Audit), Just(Audit::DryRun)];
    (enforced(), audit).prop_map(|(p, audit)| Policy {
        audit: Some(audit),
        ..p
    })
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    prop::collection::vec(prop_oneof![4 => enforced(), 1 => reported()], 0..5)
}

/// The documented semantics once more, as literally as possible: filter, then ask.
fn by_the_book(conn: &Connection, policies: &[Policy]) -> Outcome {
    let alone = |p: &Policy| {
        evaluate(
            conn,
            [&Policy {
                audit: None,
                ..p.clone()
            }],
        )
    };
    let of = |action| {
        policies
            .iter()
            .filter(move |p| p.audit.is_none() && p.action == action)
    };
    if of(Action::Deny).any(|p| !alone(p).is_allowed()) {
        return Outcome::Deny;
    }
    if of(Action::Allow).next().is_none() || of(Action::Allow).any(|p| alone(p).is_allowed()) {
        return Outcome::Allow;
    }
    Outcome::Deny
}

fn map_to_v6(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V6(v4.to_ipv6_mapped()), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

proptest! {
    #[test]
    fn deny_then_allow_then_default(conn in connection(), policies in policies()) {
        prop_assert_eq!(evaluate(&conn, &policies).outcome, by_the_book(&conn, &policies));
    }

    #[test]
    fn a_deny_more_never_opens(conn in connection(), mut policies in policies(), more in enforced()) {
        let before = evaluate(&conn, &policies);
        policies.push(Policy { action: Action::Deny, ..more });
        prop_assert!(before.is_allowed() || !evaluate(&conn, &policies).is_allowed());
    }

    #[test]
    fn an_allow_less_never_opens_while_one_remains(
        conn in connection(), mut policies in policies(), less in rules(), remains in rules(),
    ) {
        policies.push(allow("remains", remains));
        let without = evaluate(&conn, &policies);
        policies.push(allow("less", less));
        prop_assert!(evaluate(&conn, &policies).is_allowed() || !without.is_allowed());
    }

    #[test]
    fn reporting_never_changes_the_decision(
        conn in connection(), enforced in prop::collection::vec(enforced(), 0..4),
        reported in prop::collection::vec(reported(), 1..4),
    ) {
        let before = evaluate(&conn, &enforced);
        let after = evaluate(&conn, enforced.iter().chain(&reported));
        prop_assert_eq!((before.outcome, before.reason), (after.outcome, after.reason));
    }

    #[test]
    fn order_and_repetition_are_irrelevant(
        conn in connection(),
        (policies, shuffled) in policies().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
    ) {
        let expected = evaluate(&conn, &policies);
        prop_assert_eq!(&evaluate(&conn, &shuffled), &expected);
        prop_assert_eq!(&evaluate(&conn, policies.iter().chain(&shuffled)), &expected);
    }

    #[test]
    fn mapped_addresses_are_their_v4_ones(conn in connection(), policies in policies()) {
        let mapped = Connection {
            source: map_to_v6(conn.source), destination: map_to_v6(conn.destination), ..conn.clone()
        };
        prop_assert_eq!(evaluate(&mapped, &policies), evaluate(&conn, &policies));
    }

    #[test]
    fn positive_identity_fields_never_match_plaintext(conn in connection(), m in one_field(false)) {
        let by_identity = m.source_ips.is_empty() && m.destination_ips.is_empty() && m.destination_ports.is_empty();
        let plain = Connection { identity: None, ..conn };
        prop_assert!(!by_identity || !evaluate(&plain, [&allow("a", when([m]))]).is_allowed());
    }

    #[test]
    fn a_negated_field_is_the_opposite(conn in connection(), m in one_field(false)) {
        let negated = Match {
            not_namespaces: m.namespaces.clone(), not_principals: m.principals.clone(),
            not_service_accounts: m.service_accounts.clone(), not_source_ips: m.source_ips.clone(),
            not_destination_ips: m.destination_ips.clone(), not_destination_ports: m.destination_ports.clone(),
            ..Match::default()
        };
        let holds = |m: Match| evaluate(&conn, [&allow("a", when([m]))]).is_allowed();
        prop_assert_ne!(holds(m), holds(negated));
    }
}
