//! The controller: it turns Kubernetes objects into the small model that tunnels and agents need, hands it out as delta xDS, and signs their certificates.
//! One bad object never stops another.
//!
//! ```text
//! directory of YAML, or API server --source--> events --index (pure)--> workloads, services, policies --store--> delta xDS streams
//!                                          |                                                       (15012, TLS, token)
//!                                          +-- pods by node --> CA: CSR + token --> certificate chain
//!                                          +-- API server: is this object good? --> admission webhook (15017)
//! ```
#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod auth;
pub mod ca;
pub mod index;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod run;
pub mod settings;
pub mod source;
pub mod status;
pub mod tls;
pub mod warning;
pub mod xds;
