//! What operators see: metrics, logs, the CLI.

mod cli;
mod logs;
mod metrics;

pub use metrics::counted;

use super::Registry;

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    metrics::register(add);
    logs::register(add);
    cli::register(add);
}
