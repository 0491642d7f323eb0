//! The wire contract: delta xDS, the CA service, and the socket between agent and tunnel; with conversions into `warren-core`.
//!
//! ```text
//! controller --xds--> Client --decode--> core::Workload / Service / Policy
//! agent  <--node socket (SEQPACKET, fds by SCM_RIGHTS)-->  tunnel
//! ```

#[allow(missing_docs, clippy::all)]
pub mod r#gen;
