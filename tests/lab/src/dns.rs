//! Cluster DNS: Services, headless Services and the pods of StatefulSets; nothing else exists.
//!
//! ```text
//! pod ──UDP or TCP 53──► 169.254.20.10 in its node's network namespace ──► zone (rebuilt when Services change)
//! ```

pub mod codec;
mod server;
mod zone;

pub use server::serve;
pub use zone::{Record, SharedZone, Zone};
