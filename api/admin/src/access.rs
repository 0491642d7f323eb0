//! The record of connections, which agent and tunnel write alike: log lines, and metrics of traffic.

mod line;
mod traffic;
mod writer;

pub use line::Line;
pub use traffic::{EndLabels, Traffic, TrafficLabels};
pub use writer::LogWriter;

/// How an access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `key=value`.
    Text,
    /// One JSON object a line.
    Json,
    /// Denials and audits only, as text.
    Off,
}
