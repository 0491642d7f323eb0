//! The admin surface that every process of Warren has: the types of its answers, its HTTP/1.1 server and its client; with
//! logging, process metrics and the record of connections, which go with it. It shows what a process knows and changes nothing but the log level.
//!
//! ```text
//! closures --route table--> Admin --HTTP/1.1 over Unix socket or TCP--> Client (the `warren` CLI), Prometheus, kubelet
//! ```
#![forbid(unsafe_code)]

pub mod access;
mod client;
pub mod logging;
pub mod process;
mod server;
pub mod shutdown;
pub mod types;

pub use warren_arguments as arguments;

pub use client::{Client, ClientError};
pub use logging::{Format, LogHandle};
pub use server::{Admin, RouteError};

/// Version of this build, as `/status` shows it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
