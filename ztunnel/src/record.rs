//! What is known of every connection: while it lives (registry, counters, the means to end it) and when it ends (metrics, access log).
//!
//! ```text
//! flow --Registry::open(Info)--> Open (guard) --finish--> queue --> keeper: metrics, access log
//!                                  ^ kill(reason) <-- reevaluate(change)
//! ```

mod info;
mod keeper;
mod line;
mod metrics;
mod registry;
#[cfg(test)]
mod tests;

pub use info::{Direction, End, Flag, Info, Party, Reporter, Security, Verdict};
pub use keeper::Keeper;
pub use metrics::Metrics;
pub use registry::{Live, Open, Registry};
pub use warren_admin::access::{Format, LogWriter};
