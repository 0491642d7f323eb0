//! Bearer tokens of service accounts, as Kubernetes projects them: who calls, from which pod, on which node.

use std::path::PathBuf;
use std::time::SystemTime;

use tonic::Status;
use tonic::metadata::MetadataMap;

pub mod jwks;
pub mod review;

pub use jwks::Settings;

/// Who calls, as a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Namespace of the service account.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
    /// Node that the token is bound to.
    pub node: String,
    /// Pod that the token is bound to.
    pub pod: String,
    /// Its uid; empty where the token does not say.
    pub pod_uid: String,
    /// Until when the token is taken.
    pub until: SystemTime,
}

impl Caller {
    /// `<namespace>/<service account>`.
    pub fn account(&self) -> String {
        format!("{}/{}", self.namespace, self.service_account)
    }
}

/// Why a token was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No token.
    #[error("no bearer token: send the header `authorization: Bearer <token>`")]
    Missing,
    /// The keys cannot be read.
    #[error("{path}: {problem}; the controller cannot check tokens before this file holds a JWKS")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The API server cannot be asked.
    #[error("the API server cannot check the token: {0}; it is asked again at the next call")]
    Review(String),
    /// Not a token, or signed by something else.
    #[error("the token is refused: {0}")]
    Token(String),
    /// A claim does not hold.
    #[error("the token is refused: claim {claim}: {problem}")]
    Claim {
        /// The claim.
        claim: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Keys { .. } | AuthError::Review(_) => Self::unavailable(error.to_string()),
            _ => Self::unauthenticated(error.to_string()),
        }
    }
}

/// Checks tokens.
#[derive(Debug)]
pub enum Authenticator {
    /// By the keys that sign them.
    Jwks(jwks::Jwks),
    /// By asking the API server.
    Review(Box<review::Review>),
}

impl Authenticator {
    /// Checks a token.
    ///
    /// # Errors
    /// See [`AuthError`].
    pub async fn authenticate(&self, token: &str) -> Result<Caller, AuthError> {
        match self {
            Self::Jwks(jwks) => jwks.authenticate(token),
            Self::Review(review) => review.authenticate(token).await,
        }
    }
}

/// The token of a call.
///
/// # Errors
/// There is none.
pub fn bearer(metadata: &MetadataMap) -> Result<&str, AuthError> {
    let value = metadata
        .get("authorization")
        .and_then(|v| v.to_str().ok())
        .ok_or(AuthError::Missing)?;
    let token = value
        .strip_prefix("Bearer ")
        .or_else(|| value.strip_prefix("bearer "));
    token
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .ok_or(AuthError::Missing)
}
