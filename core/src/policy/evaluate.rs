//! The evaluator: DENY first, then ALLOW, then the default.

use super::{Action, Audit, Connection, Policy, PolicyKey, matching};

/// Allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The connection may go on.
    Allow,
    /// The connection must be refused.
    Deny,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This ALLOW policy matched.
    AllowedBy(PolicyKey),
    /// No ALLOW policy is present, and no DENY matched.
    NoPolicy,
    /// This DENY policy matched.
    DeniedBy(PolicyKey),
    /// ALLOW policies are present and none matched.
    NoAllowMatched,
    /// A policy that covers the workload is not known (yet), or cannot be read: closed.
    UnknownPolicy(PolicyKey),
}

impl Reason {
    /// The policy that decided or that is missing, where there is one.
    pub fn policy(&self) -> Option<&PolicyKey> {
        match self {
            Self::AllowedBy(key) | Self::DeniedBy(key) | Self::UnknownPolicy(key) => Some(key),
            Self::NoPolicy | Self::NoAllowMatched => None,
        }
    }
}

/// The outcome, why, and which audit-only policies matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Allowed or denied.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Audit-only policies that matched, with what they are; by name, each once.
    pub audited: Vec<(PolicyKey, Audit)>,
}

impl Decision {
    /// Whether the connection may go on.
    pub fn is_allowed(&self) -> bool {
        self.outcome == Outcome::Allow
    }

    /// Whether a connection that was allowed before is forbidden now. What is merely not known closes to new connections only.
    pub fn ends_connections(&self) -> bool {
        self.outcome == Outcome::Deny && !matches!(self.reason, Reason::UnknownPolicy(_))
    }

    /// The decision where `missing` covers the destination but is not known: closed, since it may be a DENY.
    pub fn unknown_policy(missing: PolicyKey) -> Self {
        Self {
            outcome: Outcome::Deny,
            reason: Reason::UnknownPolicy(missing),
            audited: Vec::new(),
        }
    }
}

/// Evaluates `policies`, which must be those that cover the destination (see [`crate::Mesh::policies_for`]).
///
/// The order of `policies` plays no part: of several policies that match, the first by name is reported.
pub fn evaluate<'a>(conn: &Connection, policies: impl IntoIterator<Item = &'a Policy>) -> Decision {
    let subject = matching::Subject::new(conn);
    let mut denied: Option<&PolicyKey> = None;
    let mut allowed: Option<&PolicyKey> = None;
    let mut allow_present = false;
    let mut audited = Vec::new();
    for policy in policies {
        if policy.audit.is_none() && policy.action == Action::Allow {
            allow_present = true;
        }
        if !matching::policy(policy, &subject) {
            continue;
        }
        match (policy.audit, policy.action) {
            (Some(audit), _) => audited.push((policy.key.clone(), audit)),
            (None, Action::Deny) => keep_first(&mut denied, &policy.key),
            (None, Action::Allow) => keep_first(&mut allowed, &policy.key),
        }
    }
    audited.sort();
    audited.dedup();
    let (outcome, reason) = conclude(denied, allowed, allow_present);
    Decision {
        outcome,
        reason,
        audited,
    }
}

/// [`evaluate`] for policies looked up by name, one of which may be missing: then the answer is
/// [`Reason::UnknownPolicy`].
pub fn evaluate_known<'a, I>(conn: &Connection, policies: Result<I, PolicyKey>) -> Decision
where
    I: IntoIterator<Item = &'a Policy>,
{
    match policies {
        Ok(policies) => evaluate(conn, policies),
        Err(missing) => Decision::unknown_policy(missing),
    }
}

fn conclude(
    denied: Option<&PolicyKey>,
    allowed: Option<&PolicyKey>,
    allow_present: bool,
) -> (Outcome, Reason) {
    match (denied, allowed) {
        (Some(key), _) => (Outcome::Deny, Reason::DeniedBy(key.clone())),
        (None, Some(key)) => (Outcome::Allow, Reason::AllowedBy(key.clone())),
        (None, None) if allow_present => (Outcome::Deny, Reason::NoAllowMatched),
        (None, None) => (Outcome::Allow, Reason::NoPolicy),
    }
}

fn keep_first<'a>(slot: &mut Option<&'a PolicyKey>, key: &'a PolicyKey) {
    if slot.is_none_or(|held| key < held) {
        *slot = Some(key);
    }
}
