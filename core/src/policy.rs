//! L4 authorisation: policies, connections, and the one evaluator that decides.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::identity::Identity;

pub mod evaluate;
mod matching;
#[cfg(test)]
mod tests;

pub use evaluate::{Decision, Outcome, Reason, evaluate, evaluate_known};

/// The unique name of a policy: `<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Object name.
    pub name: Arc<str>,
}

impl PolicyKey {
    /// Builds a key from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Which destinations a policy covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    /// The whole mesh.
    Mesh,
    /// Its namespace.
    Namespace,
    /// Only workloads that name it in [`crate::Workload::policies`].
    Selector,
}

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Permit; its presence makes everything else denied.
    Allow,
    /// Refuse, before any ALLOW is looked at.
    Deny,
}

/// Why a policy that only reports exists. Such policies never change the outcome and never count as a present ALLOW.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audit {
    /// A dry run of an ALLOW or DENY.
    DryRun,
    /// An AuthorizationPolicy with action AUDIT.
    Audit,
}

/// One policy. Rules are OR-ed; no rules never match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Unique name.
    pub key: PolicyKey,
    /// What it covers.
    pub scope: PolicyScope,
    /// What a match means.
    pub action: Action,
    /// Set where a match is only reported.
    pub audit: Option<Audit>,
    /// Any one that matches makes the policy match.
    pub rules: Vec<Rule>,
}

/// Clauses are AND-ed; no clauses always match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// All have to match.
    pub clauses: Vec<Clause>,
}

/// Matches are OR-ed; no matches are true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clause {
    /// Any one has to match.
    pub matches: Vec<Match>,
}

/// Fields are AND-ed; the values of one field are OR-ed, those of a negated field must all fail. All fields empty: never matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Source namespace.
    pub namespaces: Vec<StringMatch>,
    /// Negated.
    pub not_namespaces: Vec<StringMatch>,
    /// Source principal without `spiffe://`.
    pub principals: Vec<StringMatch>,
    /// Negated.
    pub not_principals: Vec<StringMatch>,
    /// Source service account.
    pub service_accounts: Vec<ServiceAccountMatch>,
    /// Negated.
    pub not_service_accounts: Vec<ServiceAccountMatch>,
    /// Source address.
    pub source_ips: Vec<IpNet>,
    /// Negated.
    pub not_source_ips: Vec<IpNet>,
    /// Destination address.
    pub destination_ips: Vec<IpNet>,
    /// Negated.
    pub not_destination_ips: Vec<IpNet>,
    /// Destination port.
    pub destination_ports: Vec<u16>,
    /// Negated.
    pub not_destination_ports: Vec<u16>,
}

impl Match {
    /// Whether no field is set; such a match never matches.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.not_namespaces.is_empty()
            && self.principals.is_empty()
            && self.not_principals.is_empty()
            && self.service_accounts.is_empty()
            && self.not_service_accounts.is_empty()
            && self.source_ips.is_empty()
            && self.not_source_ips.is_empty()
            && self.destination_ips.is_empty()
            && self.not_destination_ips.is_empty()
            && self.destination_ports.is_empty()
            && self.not_destination_ports.is_empty()
    }
}

/// A service account in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub service_account: Arc<str>,
}

/// A test of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Starts with.
    Prefix(Arc<str>),
    /// Ends with.
    Suffix(Arc<str>),
    /// There is one, and it is not empty.
    Presence,
}

/// What the evaluator is asked about. `identity` is None for plaintext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Verified identity of the source: by mTLS, or by the kernel for a direct flow.
    pub identity: Option<Identity>,
    /// Source address; its port plays no part.
    pub source: SocketAddr,
    /// The workload's own address and port, after any Service was resolved.
    pub destination: SocketAddr,
}
