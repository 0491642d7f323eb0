//! A real API server with its etcd, a link to it that can be cut, and the controller's own binary.

pub mod api;
pub mod controller;
pub mod link;
pub mod objects;
#[path = "../it/support/tokens.rs"]
#[allow(dead_code)]
pub mod tokens;

pub use warren_apiserver::eventually;

pub const SYSTEM: &str = "warren-system";
