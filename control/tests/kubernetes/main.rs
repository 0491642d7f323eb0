//! The controller with a real API server. Every test needs the programs of the test cluster, and is ignored without being
//! asked for: `cargo test -p warren-control --test kubernetes -- --ignored`.

mod support;

mod ca;
mod cert_manager;
mod gateways;
mod leader;
mod objects;
mod outage;
mod scale;
mod status;
mod tokens;
mod unknown_fields;
mod webhook;
