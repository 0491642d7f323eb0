//! The evaluator. (Written by its table of tests.)

use super::{Audit, Connection, Policy, PolicyKey};

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
    /// The workload names a policy that is not known (yet): closed.
    UnknownPolicy(PolicyKey),
}

/// The outcome, why, and which audit-only policies matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Allowed or denied.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Audit-only policies that matched, with what they are.
    pub audited: Vec<(PolicyKey, Audit)>,
}

/// Evaluates `policies`, which must be those that cover the destination (see [`crate::Mesh::policies_for`]).
pub fn evaluate<'a>(_conn: &Connection, _policies: impl IntoIterator<Item = &'a Policy>) -> Decision {
    Decision { outcome: Outcome::Deny, reason: Reason::NoAllowMatched, audited: Vec::new() }
}
