//! The load generator: a server of fixed answers, and clients that measure throughput, connections and latency.
//! It is light on purpose: what it costs itself hides what the mesh costs.

pub mod client;
pub mod epoll;
pub mod http;
pub mod report;
pub mod server;

mod closed;
mod connections;
pub mod hold;
mod paced;
mod throughput;

pub use closed::closed;
pub use connections::connections;

pub use paced::paced;
pub use throughput::throughput;
