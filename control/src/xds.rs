//! Delta ADS: the resources as they are sent, and one session a stream.
//!
//! ```text
//! Delta --encode once--> Store (entries, change log) --session.collect()--> Push (shared bytes) --codec--> stream
//!                          |  watch: new sequence number                        ^
//!                          +------------------- session <--- requests, acks ----+
//! ```
//! A session remembers up to where of the change log its client is. A slow client so gets the latest state when it is ready
//! again, and the controller holds nothing for it meanwhile.

pub mod clients;
pub mod codec;
pub mod demand;
pub mod push;
pub mod server;
pub mod session;
pub mod store;
pub mod stream;

use warren_api::codec::{ADDRESS_TYPE, AUTHORIZATION_TYPE};

/// The two types that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// Policies.
    Authorization,
    /// Workloads and services.
    Address,
}

impl Type {
    /// Its type URL.
    pub fn url(self) -> &'static str {
        match self {
            Self::Authorization => AUTHORIZATION_TYPE,
            Self::Address => ADDRESS_TYPE,
        }
    }

    /// The type of a URL.
    pub fn of(url: &str) -> Option<Self> {
        [Self::Authorization, Self::Address]
            .into_iter()
            .find(|t| t.url() == url)
    }
}
