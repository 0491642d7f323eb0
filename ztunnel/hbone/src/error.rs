//! What can go wrong: handshakes, opening a stream, an open stream.

use std::io;
use std::sync::Arc;

use http::StatusCode;
use warren_core::Identity;

/// Why we refused the peer's certificate.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeerRefusal {
    /// Past its validity.
    #[error(
        "the peer's certificate has expired; look at its tunnel's connection to the certificate authority"
    )]
    Expired,
    /// Before its validity.
    #[error("the peer's certificate is not valid yet; compare the two nodes' clocks")]
    NotYetValid,
    /// Does not chain to a mesh root.
    #[error("the peer's certificate was not issued by this mesh's certificate authority")]
    UnknownIssuer,
    /// From another mesh.
    #[error("the peer's trust domain is `{got}`, ours is `{expected}`")]
    WrongTrustDomain {
        /// Ours.
        expected: Arc<str>,
        /// The peer's.
        got: Arc<str>,
    },
    /// The peer showed no certificate.
    #[error(
        "the peer showed no client certificate; only members of the mesh may connect to this port"
    )]
    MissingCertificate,
    /// Not exactly one SPIFFE ID.
    #[error("the peer's certificate does not carry exactly one workload identity: {0}")]
    NoIdentity(String),
    /// Another workload answered.
    #[error("the peer is `{got}`, expected {expected}; its address may have passed to another pod")]
    UnexpectedIdentity {
        /// Who was asked for.
        expected: String,
        /// Who answered.
        got: Identity,
    },
    /// The peer cannot prove that it holds the key.
    #[error("the peer's signature does not match its certificate")]
    BadSignature,
    /// Anything else that the verifier found.
    #[error("the peer's certificate is not acceptable: {0}")]
    Other(String),
}

impl PeerRefusal {
    /// A short word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongTrustDomain { .. } => "wrong_trust_domain",
            Self::MissingCertificate => "missing_client_certificate",
            Self::NoIdentity(_) => "no_identity",
            Self::UnexpectedIdentity { .. } => "unexpected_identity",
            Self::BadSignature => "bad_signature",
            Self::Other(_) => "bad_certificate",
        }
    }
}

/// Why a TLS or HTTP/2 handshake failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// We refused the peer.
    #[error(transparent)]
    Refused(#[from] PeerRefusal),
    /// The peer refused us, or had trouble of its own.
    #[error("the peer ended the TLS handshake with alert {0}; its log has the reason")]
    Alert(String),
    /// What came was not TLS 1.3 as we speak it.
    #[error("the peer does not speak TLS 1.3 with a group and cipher that we take: {0}")]
    NotTls(String),
    /// No agreement on HTTP/2.
    #[error("the peer did not agree on HTTP/2 (ALPN h2)")]
    NoAlpn,
    /// We have nothing to show.
    #[error("no certificate for our own side: {0}")]
    NoCertificate(String),
    /// The server takes no more at once.
    #[error("too many handshakes are under way, in all or with this peer")]
    TooMany,
    /// The server takes no more of this peer.
    #[error("this peer has too many connections to the pod already (--max-peer-connections)")]
    TooManyConnections,
    /// Too slow.
    #[error("the peer did not finish its handshake in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Io(String),
    /// HTTP/2 preface or settings.
    #[error("the peer does not speak HTTP/2: {0}")]
    Http2(String),
}

impl HandshakeError {
    /// A short word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused(r) => r.label(),
            Self::Alert(_) => "peer_alert",
            Self::NotTls(_) => "not_tls",
            Self::NoAlpn => "no_alpn",
            Self::NoCertificate(_) => "no_certificate",
            Self::TooMany => "too_many",
            Self::TooManyConnections => "too_many_connections",
            Self::Timeout => "timeout",
            Self::Io(_) => "io",
            Self::Http2(_) => "http2",
        }
    }
}

/// Why no stream to the destination could be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// TCP did not connect. The kind tells refused from unreachable and timed out.
    #[error("cannot connect to {to}: {error}")]
    Connect {
        /// Where to.
        to: std::net::SocketAddr,
        /// The kind of the error.
        kind: io::ErrorKind,
        /// Its text.
        error: String,
    },
    /// No certificate for the source.
    #[error("no certificate for the source workload: {0}")]
    NoCertificate(String),
    /// TLS or HTTP/2.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The peer answered CONNECT with something else than 200.
    #[error("the peer refused the connection with status {0}")]
    Status(StatusCode),
    /// No answer to CONNECT.
    #[error("the peer did not answer the CONNECT request in time")]
    Timeout,
    /// The connection ended before the answer.
    #[error("the connection to the peer ended before it answered: {0}")]
    Broken(String),
    /// The peer broke off the stream before the answer, or the connection ended with the application's first bytes under way: the other
    /// application may have been reached, so nobody may ask again.
    #[error("the peer broke off after it had the request: {0}")]
    Lost(String),
}

impl OpenError {
    /// A short word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::NoCertificate(_) => "no_certificate",
            Self::Handshake(h) => h.label(),
            Self::Status(s) if *s == StatusCode::UNAUTHORIZED => "denied",
            Self::Status(_) => "refused",
            Self::Timeout => "timeout",
            Self::Broken(_) | Self::Lost(_) => "broken",
        }
    }

    /// Whether nothing can have reached the application, so that another try is safe and may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Status(s) => *s == StatusCode::SERVICE_UNAVAILABLE,
            Self::Handshake(h) => !matches!(h, HandshakeError::Refused(_)),
            Self::NoCertificate(_) | Self::Timeout | Self::Broken(_) | Self::Lost(_) => false,
        }
    }
}

/// Why an open stream broke.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TunnelError {
    /// The peer reset the stream.
    #[error("the peer reset the stream ({0})")]
    Reset(String),
    /// The connection under the stream ended.
    #[error("the connection to the peer ended: {0}")]
    Connection(String),
    /// A plain connection broke.
    #[error("the connection broke: {0}")]
    Io(String),
}

impl From<h2::Error> for TunnelError {
    fn from(e: h2::Error) -> Self {
        match e.reason() {
            Some(r) if e.is_reset() => Self::Reset(format!("{r:?}")),
            _ => Self::Connection(e.to_string()),
        }
    }
}
