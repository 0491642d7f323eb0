//! The domain of Warren: identities, workloads, services, policies and the one policy evaluator.
//! Pure data and pure functions; no I/O, no async runtime, no wire format.
//!
//! ```text
//! api (wire) --TryFrom--> Workload / Service / Policy --> Mesh (indexed store)
//!                                                          |  by address, uid, hostname
//!                                Connection --evaluate(policies)--> Decision
//!                                Service + Origin --candidates--> endpoints --pick--> one
//! ```
#![forbid(unsafe_code)]

pub mod address;
pub mod balance;
pub mod direct;
pub mod identity;
pub mod mesh;
pub mod policy;
pub mod revocation;
pub mod service;
pub mod workload;

pub use identity::Identity;
pub use mesh::Mesh;
pub use service::Service;
pub use workload::Workload;
