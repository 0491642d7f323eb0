//! Policies.

use ipnet::IpNet;
use prost::Message;
use warren_core::policy::{
    Action, Audit, Clause, Match, Policy, PolicyKey, PolicyScope, Rule, ServiceAccountMatch,
    StringMatch,
};

use super::fields::{Context, ip_bytes};
use super::{AUDIT_EXTENSION, DecodeError, pack_named};
use crate::r#gen::security as wire;
use wire::string_match::MatchType;

const DRY_RUN: &str = "dry-run";
const AUDIT: &str = "audit";

impl TryFrom<&wire::Authorization> for Policy {
    type Error = DecodeError;

    fn try_from(p: &wire::Authorization) -> Result<Self, DecodeError> {
        let resource = format!("{}/{}", p.namespace, p.name);
        let cx = Context {
            kind: "policy",
            resource: &resource,
        };
        let scope = match wire::Scope::try_from(p.scope) {
            Ok(wire::Scope::Global) => PolicyScope::Mesh,
            Ok(wire::Scope::Namespace) => PolicyScope::Namespace,
            Ok(wire::Scope::WorkloadSelector) => PolicyScope::Selector,
            Err(_) => return Err(cx.unknown("scope", p.scope)),
        };
        let action = match wire::Action::try_from(p.action) {
            Ok(wire::Action::Allow) => Action::Allow,
            Ok(wire::Action::Deny) => Action::Deny,
            Err(_) => return Err(cx.unknown("action", p.action)),
        };
        let rule = |r: &wire::Rule| {
            let clause = |c: &wire::Clause| {
                let matches = c.matches.iter().map(|m| decode_match(cx, action, m));
                Ok(Clause {
                    matches: matches.collect::<Result<_, _>>()?,
                })
            };
            Ok(Rule {
                clauses: r.clauses.iter().map(clause).collect::<Result<_, _>>()?,
            })
        };
        Ok(Self {
            key: PolicyKey {
                namespace: p.namespace.as_str().into(),
                name: cx.required("name", &p.name)?,
            },
            scope,
            action,
            audit: decode_audit(cx, p)?,
            rules: p.rules.iter().map(rule).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Policy> for wire::Authorization {
    fn from(p: &Policy) -> Self {
        let scope = match p.scope {
            PolicyScope::Mesh => wire::Scope::Global,
            PolicyScope::Namespace => wire::Scope::Namespace,
            PolicyScope::Selector => wire::Scope::WorkloadSelector,
        };
        let action = match p.action {
            Action::Allow => wire::Action::Allow,
            Action::Deny => wire::Action::Deny,
        };
        let clause = |c: &Clause| wire::Clause {
            matches: c.matches.iter().map(encode_match).collect(),
        };
        let rule = |r: &Rule| wire::Rule {
            clauses: r.clauses.iter().map(clause).collect(),
        };
        Self {
            name: p.key.name.to_string(),
            namespace: p.key.namespace.to_string(),
            scope: scope.into(),
            action: action.into(),
            rules: p.rules.iter().map(rule).collect(),
            dry_run: p.audit.is_some(),
            extensions: p.audit.map(encode_audit).into_iter().collect(),
        }
    }
}

fn decode_audit(cx: Context<'_>, p: &wire::Authorization) -> Result<Option<Audit>, DecodeError> {
    const FIELD: &str = "extensions";
    let Some(extension) = p.extensions.iter().find(|e| e.name == AUDIT_EXTENSION) else {
        return Ok(p.dry_run.then_some(Audit::DryRun));
    };
    if !p.dry_run {
        return Err(cx.error(
            FIELD,
            format!("{AUDIT_EXTENSION} on a policy that is not a dry run"),
        ));
    }
    let value = extension
        .config
        .as_ref()
        .map_or(&[][..], |any| any.value.as_slice());
    let kind =
        String::decode(value).map_err(|e| cx.error(FIELD, format!("{AUDIT_EXTENSION}: {e}")))?;
    match kind.as_str() {
        DRY_RUN => Ok(Some(Audit::DryRun)),
        AUDIT => Ok(Some(Audit::Audit)),
        other => Err(cx.error(FIELD, format!("{AUDIT_EXTENSION}: unknown kind `{other}`"))),
    }
}

fn encode_audit(audit: Audit) -> wire::Extension {
    let kind = match audit {
        Audit::DryRun => DRY_RUN,
        Audit::Audit => AUDIT,
    };
    wire::Extension {
        name: AUDIT_EXTENSION.into(),
        config: Some(pack_named(&kind.to_owned())),
    }
}

fn decode_match(cx: Context<'_>, action: Action, m: &wire::Match) -> Result<Match, DecodeError> {
    let mut decoded = Match {
        namespaces: strings(cx, "namespaces", &m.namespaces)?,
        not_namespaces: strings(cx, "not_namespaces", &m.not_namespaces)?,
        principals: strings(cx, "principals", &m.principals)?,
        not_principals: strings(cx, "not_principals", &m.not_principals)?,
        service_accounts: accounts(&m.service_accounts),
        not_service_accounts: accounts(&m.not_service_accounts),
        source_ips: nets(cx, "source_ips", &m.source_ips)?,
        not_source_ips: nets(cx, "not_source_ips", &m.not_source_ips)?,
        destination_ips: nets(cx, "destination_ips", &m.destination_ips)?,
        not_destination_ips: nets(cx, "not_destination_ips", &m.not_destination_ips)?,
        destination_ports: ports(cx, "destination_ports", &m.destination_ports)?,
        not_destination_ports: ports(cx, "not_destination_ports", &m.not_destination_ports)?,
    };
    // An unknown condition can only be read closed: it never satisfies an ALLOW and always satisfies a DENY.
    if !m.extensions.is_empty() {
        match action {
            Action::Allow => decoded = Match::default(),
            Action::Deny if decoded == Match::default() => decoded.not_destination_ports = vec![0],
            Action::Deny => {}
        }
    }
    Ok(decoded)
}

fn encode_match(m: &Match) -> wire::Match {
    wire::Match {
        namespaces: m.namespaces.iter().map(Into::into).collect(),
        not_namespaces: m.not_namespaces.iter().map(Into::into).collect(),
        principals: m.principals.iter().map(Into::into).collect(),
        not_principals: m.not_principals.iter().map(Into::into).collect(),
        source_ips: m.source_ips.iter().map(Into::into).collect(),
        not_source_ips: m.not_source_ips.iter().map(Into::into).collect(),
        destination_ips: m.destination_ips.iter().map(Into::into).collect(),
        not_destination_ips: m.not_destination_ips.iter().map(Into::into).collect(),
        destination_ports: m.destination_ports.iter().map(|&p| p.into()).collect(),
        not_destination_ports: m.not_destination_ports.iter().map(|&p| p.into()).collect(),
        service_accounts: m.service_accounts.iter().map(Into::into).collect(),
        not_service_accounts: m.not_service_accounts.iter().map(Into::into).collect(),
        extensions: Vec::new(),
    }
}

fn strings(
    cx: Context<'_>,
    field: &'static str,
    list: &[wire::StringMatch],
) -> Result<Vec<StringMatch>, DecodeError> {
    let one = |s: &wire::StringMatch| match &s.match_type {
        Some(MatchType::Exact(v)) => Ok(StringMatch::Exact(v.as_str().into())),
        Some(MatchType::Prefix(v)) => Ok(StringMatch::Prefix(v.as_str().into())),
        Some(MatchType::Suffix(v)) => Ok(StringMatch::Suffix(v.as_str().into())),
        Some(MatchType::Presence(())) => Ok(StringMatch::Presence),
        None => Err(cx.error(field, "a string match without a value")),
    };
    list.iter().map(one).collect()
}

fn accounts(list: &[wire::ServiceAccountMatch]) -> Vec<ServiceAccountMatch> {
    let one = |a: &wire::ServiceAccountMatch| ServiceAccountMatch {
        namespace: a.namespace.as_str().into(),
        service_account: a.service_account.as_str().into(),
    };
    list.iter().map(one).collect()
}

fn nets(
    cx: Context<'_>,
    field: &'static str,
    list: &[wire::Address],
) -> Result<Vec<IpNet>, DecodeError> {
    list.iter()
        .map(|a| cx.net(field, &a.address, a.length))
        .collect()
}

fn ports(cx: Context<'_>, field: &'static str, list: &[u32]) -> Result<Vec<u16>, DecodeError> {
    list.iter().map(|&p| cx.port(field, p)).collect()
}

impl From<&StringMatch> for wire::StringMatch {
    fn from(s: &StringMatch) -> Self {
        let match_type = match s {
            StringMatch::Exact(v) => MatchType::Exact(v.to_string()),
            StringMatch::Prefix(v) => MatchType::Prefix(v.to_string()),
            StringMatch::Suffix(v) => MatchType::Suffix(v.to_string()),
            StringMatch::Presence => MatchType::Presence(()),
        };
        Self {
            match_type: Some(match_type),
        }
    }
}

impl From<&ServiceAccountMatch> for wire::ServiceAccountMatch {
    fn from(a: &ServiceAccountMatch) -> Self {
        Self {
            namespace: a.namespace.to_string(),
            service_account: a.service_account.to_string(),
        }
    }
}

impl From<&IpNet> for wire::Address {
    fn from(net: &IpNet) -> Self {
        Self {
            address: ip_bytes(net.addr()),
            length: net.prefix_len().into(),
        }
    }
}
