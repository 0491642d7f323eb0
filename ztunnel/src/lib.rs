//! The L4 tunnel of a node: carries its pods' connections to other pods by HBONE, proves who they are, and lets in what policy allows.
//! It makes its sockets inside the pods, asks the kernel programs by socket options, and takes its pods from the agent.
//!
//! ```text
//! agent --node socket--> Pods --accept--> flow::outbound --Pool (HBONE)--> peer tunnel
//!                                         flow::inbound   <--15008-- peer tunnel
//!                                         flow::plaintext <--------- outside the mesh     --lo--> application
//! controller --xds--> State (core::Mesh) --lookup, decide--^    |
//! controller --ca---> Certs                                     +--> record: registry, metrics, access log
//! ```
#![deny(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod certs;
pub mod context;
pub mod control;
pub mod flow;
pub mod lanes;
pub mod listen;
mod memory;
pub mod missed;
pub mod net;
pub mod places;
pub mod pods;
pub mod record;
pub mod run;
pub mod settings;
pub mod state;
pub mod throttle;
