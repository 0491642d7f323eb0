//! The facts of one connection.

use std::net::SocketAddr;
use std::sync::Arc;

use warren_core::policy::{Audit, Decision, Outcome, PolicyKey, Reason};
use warren_core::service::ServiceKey;
use warren_core::{Identity, Workload};

/// Which end reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The tunnel of the client.
    Source,
    /// The tunnel of the server.
    Destination,
}

/// Which listener took the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a pod of this node.
    Outbound,
    /// To a pod of this node, by HBONE.
    Inbound,
    /// To a pod of this node, in plaintext.
    Plaintext,
}

/// How the bytes are protected between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Mutual TLS with verified identities.
    MutualTls,
    /// Not at all.
    None,
    /// They never leave the pod or the node: the kernel vouches for the ends.
    Kernel,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its address as the application sees it.
    pub address: SocketAddr,
    /// Its workload, where known.
    pub workload: Option<Arc<Workload>>,
    /// Its identity, where verified.
    pub identity: Option<Identity>,
}

impl Party {
    /// An end of which only the address is known.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            workload: None,
            identity: None,
        }
    }
}

/// What policy said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the connection may be. None where another tunnel decides.
    pub allowed: Option<bool>,
    /// Which policy decided.
    pub policy: Option<PolicyKey>,
    /// Why, for people.
    pub reason: String,
    /// Policies that only report and that matched.
    pub audited: Vec<(PolicyKey, Audit)>,
}

impl Verdict {
    /// For the source's side: the destination's tunnel decides.
    pub fn elsewhere() -> Self {
        Self {
            allowed: None,
            policy: None,
            reason: String::new(),
            audited: Vec::new(),
        }
    }

    /// A short word for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self.allowed {
            Some(true) => "allow",
            Some(false) => "deny",
            None => "remote",
        }
    }
}

impl From<Decision> for Verdict {
    fn from(d: Decision) -> Self {
        let reason = match &d.reason {
            Reason::AllowedBy(p) => format!("allowed by {p}"),
            Reason::NoPolicy => "no ALLOW policy covers the destination".into(),
            Reason::DeniedBy(p) => format!("denied by {p}"),
            Reason::NoAllowMatched => "no ALLOW policy matches".into(),
            Reason::UnknownPolicy(p) => format!("policy {p} is not known yet, or cannot be read"),
        };
        Self {
            allowed: Some(d.outcome == Outcome::Allow),
            policy: d.reason.policy().cloned(),
            reason,
            audited: d.audited,
        }
    }
}

/// The facts of one connection that do not change while it lives.
#[derive(Clone, Debug)]
pub struct Info {
    /// Which listener took it.
    pub direction: Direction,
    /// The client.
    pub source: Party,
    /// The server.
    pub destination: Party,
    /// What the client asked for, where that is not the destination's address.
    pub original: Option<SocketAddr>,
    /// The service that was asked for.
    pub service: Option<ServiceKey>,
    /// How it is protected.
    pub security: Security,
    /// What policy said.
    pub verdict: Verdict,
}

impl Info {
    /// Which end reports.
    pub fn reporter(&self) -> Reporter {
        match self.direction {
            Direction::Outbound => Reporter::Source,
            Direction::Inbound | Direction::Plaintext => Reporter::Destination,
        }
    }
}

/// How a connection ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Both directions ended cleanly.
    Ok,
    /// Denied at the start.
    Denied,
    /// Denied by a change of policy while it lived.
    Revoked,
    /// The destination could not be reached.
    Connect,
    /// No healthy endpoint.
    NoEndpoint,
    /// The handshake with the peer failed, or there is no certificate.
    Tls,
    /// An end broke it off.
    Reset,
    /// This tunnel is going away.
    Drain,
    /// A direct flow that the kernel should have recognised.
    MissedDirect,
    /// What was taken to be outside the mesh led into it.
    UnknownAddress,
}

impl Flag {
    /// All of them, for the documentation.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Denied,
        Self::Revoked,
        Self::Connect,
        Self::NoEndpoint,
        Self::Tls,
        Self::Reset,
        Self::Drain,
        Self::MissedDirect,
        Self::UnknownAddress,
    ];

    /// As metrics and logs write it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "-",
            Self::Denied => "DENIED",
            Self::Revoked => "REVOKED",
            Self::Connect => "CONNECT",
            Self::NoEndpoint => "NO_ENDPOINT",
            Self::Tls => "TLS",
            Self::Reset => "RESET",
            Self::Drain => "DRAIN",
            Self::MissedDirect => "MISSED_DIRECT",
            Self::UnknownAddress => "UNKNOWN_ADDRESS",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub struct End {
    /// In one word.
    pub flag: Flag,
    /// For people.
    pub error: Option<String>,
}

impl End {
    /// Cleanly.
    pub fn ok() -> Self {
        Self {
            flag: Flag::Ok,
            error: None,
        }
    }

    /// With an error.
    pub fn failed(flag: Flag, error: impl ToString) -> Self {
        Self {
            flag,
            error: Some(error.to_string()),
        }
    }
}
