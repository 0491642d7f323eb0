//! The admission webhook: what the API server is about to store is told as the sources would tell it, before it is stored.
//!
//! ```text
//! API server --AdmissionReview over TLS (15017)--> server (limits) --> review --decode, as the sources do--> refused, or warnings
//!      ^                                                                  +-- index: what would be said of it --^
//!      +-- caBundle: written by the leader, whenever what is trusted changes
//! ```
//! There is no second validator: [`crate::source::decode::decode`] and [`crate::index::Index::preview`] say all of it. The mesh
//! works without the webhook; what it would have refused is then told by condition.

pub mod bundle;
pub mod review;
pub mod server;

use http::StatusCode;

/// Why a request gets no review.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Another path.
    #[error("nothing is here; reviews are at /validate")]
    NotFound,
    /// Another method.
    #[error("a review is asked for by POST")]
    Method,
    /// More than the API server itself takes.
    #[error("the body is larger than {} MiB, which no object of the API server's is", server::MAX_BODY >> 20)]
    TooLarge,
    /// No review.
    #[error("not an AdmissionReview of admission.k8s.io/v1: {0}")]
    Garbage(String),
    /// The connection broke off, or there is too much to do.
    #[error("{0}; ask again")]
    Busy(&'static str),
}

impl AdmissionError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Garbage(_) => StatusCode::BAD_REQUEST,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
