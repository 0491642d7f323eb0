//! Whether one policy matches one connection.

use std::cell::OnceCell;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Clause, Connection, Match, Policy, Rule, ServiceAccountMatch, StringMatch};
use crate::address::{canonical, canonical_net};
use crate::identity::Identity;

/// A connection prepared for matching: canonical addresses, and the principal written out once.
pub(super) struct Subject<'a> {
    identity: Option<&'a Identity>,
    principal: OnceCell<String>,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
}

impl<'a> Subject<'a> {
    pub(super) fn new(conn: &'a Connection) -> Self {
        Self {
            identity: conn.identity.as_ref(),
            principal: OnceCell::new(),
            source: canonical(conn.source.ip()),
            destination: canonical(conn.destination.ip()),
            port: conn.destination.port(),
        }
    }

    fn is_namespace(&self, test: &StringMatch) -> bool {
        self.identity.is_some_and(|id| string(test, &id.namespace))
    }

    fn is_principal(&self, test: &StringMatch) -> bool {
        self.identity.is_some_and(|id| {
            let principal = self.principal.get_or_init(|| id.principal());
            match test {
                StringMatch::Exact(s) => without_scheme(s) == principal,
                StringMatch::Prefix(s) => principal.starts_with(without_scheme(s)),
                StringMatch::Suffix(_) | StringMatch::Presence => string(test, principal),
            }
        })
    }

    fn is_service_account(&self, test: &ServiceAccountMatch) -> bool {
        self.identity.is_some_and(|id| {
            id.namespace == test.namespace && id.service_account == test.service_account
        })
    }
}

/// Rules are OR-ed; none never match.
pub(super) fn policy(policy: &Policy, subject: &Subject<'_>) -> bool {
    policy.rules.iter().any(|r| rule(r, subject))
}

fn rule(rule: &Rule, subject: &Subject<'_>) -> bool {
    rule.clauses.iter().all(|c| clause(c, subject))
}

fn clause(clause: &Clause, subject: &Subject<'_>) -> bool {
    clause.matches.is_empty() || clause.matches.iter().any(|m| one(m, subject))
}

/// An empty match is what remains of fields that a sender could not express, so it must not match everything.
fn one(m: &Match, s: &Subject<'_>) -> bool {
    let in_net = |ip: IpAddr| move |net: &IpNet| canonical_net(*net).contains(&ip);
    !m.is_empty()
        && field(&m.destination_ports, &m.not_destination_ports, |p| {
            *p == s.port
        })
        && field(&m.source_ips, &m.not_source_ips, in_net(s.source))
        && field(
            &m.destination_ips,
            &m.not_destination_ips,
            in_net(s.destination),
        )
        && field(&m.namespaces, &m.not_namespaces, |t| s.is_namespace(t))
        && field(&m.service_accounts, &m.not_service_accounts, |t| {
            s.is_service_account(t)
        })
        && field(&m.principals, &m.not_principals, |t| s.is_principal(t))
}

/// Without an identity every test of it fails: so a positive field fails and a negated one holds.
fn field<T>(positive: &[T], negative: &[T], test: impl Fn(&T) -> bool) -> bool {
    (positive.is_empty() || positive.iter().any(&test)) && !negative.iter().any(&test)
}

fn string(test: &StringMatch, value: &str) -> bool {
    match test {
        StringMatch::Exact(s) => **s == *value,
        StringMatch::Prefix(s) => value.starts_with(&**s),
        StringMatch::Suffix(s) => value.ends_with(&**s),
        StringMatch::Presence => !value.is_empty(),
    }
}

/// A principal written as a whole SPIFFE ID means the same one; else a DENY of it would be dead.
fn without_scheme(s: &str) -> &str {
    s.strip_prefix("spiffe://").unwrap_or(s)
}
