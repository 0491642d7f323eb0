//! Short spellings for policies and connections.

use super::*;

/// A test of a string as an AuthorizationPolicy writes it: `*` presence, `x*` prefix, `*x` suffix, else exact.
pub(super) fn text(s: &str) -> StringMatch {
    match (s.strip_prefix('*'), s.strip_suffix('*')) {
        _ if s == "*" => StringMatch::Presence,
        (Some(suffix), _) => StringMatch::Suffix(suffix.into()),
        (None, Some(prefix)) => StringMatch::Prefix(prefix.into()),
        (None, None) => StringMatch::Exact(s.into()),
    }
}

fn texts(of: &[&str]) -> Vec<StringMatch> {
    of.iter().map(|s| text(s)).collect()
}

fn nets(of: &[&str]) -> Vec<IpNet> {
    of.iter()
        .map(|s| s.parse().expect("network in a fixture"))
        .collect()
}

fn accounts(of: &[&str]) -> Vec<ServiceAccountMatch> {
    let split = |s: &&str| {
        let (namespace, account) = s.split_once('/').expect("namespace/account in a fixture");
        ServiceAccountMatch {
            namespace: namespace.into(),
            service_account: account.into(),
        }
    };
    of.iter().map(split).collect()
}

macro_rules! field {
    ($name:ident, $not:ident, $field:ident, $not_field:ident, $values:ty, $parse:expr) => {
        /// A match with this one field.
        pub(super) fn $name(values: $values) -> Match {
            Match {
                $field: $parse(values),
                ..Match::default()
            }
        }

        /// A match with this one field, negated.
        pub(super) fn $not(values: $values) -> Match {
            Match {
                $not_field: $parse(values),
                ..Match::default()
            }
        }
    };
}

field!(ns, not_ns, namespaces, not_namespaces, &[&str], texts);
field!(
    principal,
    not_principal,
    principals,
    not_principals,
    &[&str],
    texts
);
field!(
    sa,
    not_sa,
    service_accounts,
    not_service_accounts,
    &[&str],
    accounts
);
field!(src, not_src, source_ips, not_source_ips, &[&str], nets);
field!(
    dst,
    not_dst,
    destination_ips,
    not_destination_ips,
    &[&str],
    nets
);
field!(
    port,
    not_port,
    destination_ports,
    not_destination_ports,
    &[u16],
    <[u16]>::to_vec
);

/// One match with the fields of all.
pub(super) fn all<const N: usize>(matches: [Match; N]) -> Match {
    let mut sum = Match::default();
    for m in matches {
        sum.namespaces.extend(m.namespaces);
        sum.not_namespaces.extend(m.not_namespaces);
        sum.principals.extend(m.principals);
        sum.not_principals.extend(m.not_principals);
        sum.service_accounts.extend(m.service_accounts);
        sum.not_service_accounts.extend(m.not_service_accounts);
        sum.source_ips.extend(m.source_ips);
        sum.not_source_ips.extend(m.not_source_ips);
        sum.destination_ips.extend(m.destination_ips);
        sum.not_destination_ips.extend(m.not_destination_ips);
        sum.destination_ports.extend(m.destination_ports);
        sum.not_destination_ports.extend(m.not_destination_ports);
    }
    sum
}

/// A clause of matches, any of which has to hold.
pub(super) fn any<const N: usize>(matches: [Match; N]) -> Clause {
    Clause {
        matches: matches.into(),
    }
}

/// A rule of clauses, all of which have to hold.
pub(super) fn rule<const N: usize>(clauses: [Clause; N]) -> Rule {
    Rule {
        clauses: clauses.into(),
    }
}

/// Rules of which each is a single match.
pub(super) fn when<const N: usize>(matches: [Match; N]) -> Vec<Rule> {
    matches.into_iter().map(|m| rule([any([m])])).collect()
}

/// `rules: [{}]`: everything.
pub(super) fn always() -> Vec<Rule> {
    vec![Rule::default()]
}

/// `rules: []`: nothing.
pub(super) fn never() -> Vec<Rule> {
    Vec::new()
}

pub(super) fn policy(name: &str, action: Action, audit: Option<Audit>, rules: Vec<Rule>) -> Policy {
    let key = PolicyKey::new("shop", name);
    Policy {
        key,
        scope: PolicyScope::Namespace,
        action,
        audit,
        rules,
    }
}

pub(super) fn allow(name: &str, rules: Vec<Rule>) -> Policy {
    policy(name, Action::Allow, None, rules)
}

pub(super) fn deny(name: &str, rules: Vec<Rule>) -> Policy {
    policy(name, Action::Deny, None, rules)
}

pub(super) fn audit(name: &str, rules: Vec<Rule>) -> Policy {
    policy(name, Action::Deny, Some(Audit::Audit), rules)
}

pub(super) fn dry_run(name: &str, action: Action, rules: Vec<Rule>) -> Policy {
    policy(name, action, Some(Audit::DryRun), rules)
}

/// How PeerAuthentication STRICT arrives.
pub(super) fn strict() -> Policy {
    deny("strict", when([not_principal(&["*"])]))
}

fn conn(identity: Option<Identity>, source: &str, destination: &str) -> Connection {
    let address = |s: &str| s.parse().expect("address in a fixture");
    Connection {
        identity,
        source: address(source),
        destination: address(destination),
    }
}

/// cluster.local/ns/shop/sa/web from 10.1.2.3 to 10.9.8.7:8080.
pub(super) fn web() -> Connection {
    conn(
        Some(Identity::new("", "shop", "web")),
        "10.1.2.3:40000",
        "10.9.8.7:8080",
    )
}

/// The same addresses in plaintext.
pub(super) fn plain() -> Connection {
    Connection {
        identity: None,
        ..web()
    }
}

/// The same identity from fd00:1::3 to fd00:9::7, port 8080.
pub(super) fn web6() -> Connection {
    conn(web().identity, "[fd00:1::3]:40000", "[fd00:9::7]:8080")
}

/// [`web`] with both addresses in their mapped form.
pub(super) fn mapped() -> Connection {
    conn(
        web().identity,
        "[::ffff:10.1.2.3]:40000",
        "[::ffff:10.9.8.7]:8080",
    )
}

/// [`web`] with another identity.
pub(super) fn by(trust_domain: &str, namespace: &str, account: &str) -> Connection {
    Connection {
        identity: Some(Identity::new(trust_domain, namespace, account)),
        ..web()
    }
}
