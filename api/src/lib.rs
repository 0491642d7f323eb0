//! The wire contract: delta xDS, the CA service, and the socket between agent and tunnel; with conversions into `warren-core`.
//! Nothing from the wire reaches a caller before it was converted and checked; no decision is taken here.
//!
//! ```text
//! controller --xds--> Client --decode--> core::Workload / Service / Policy
//! agent  <--node socket (SEQPACKET, fds by SCM_RIGHTS)-->  tunnel
//! tunnel --ca--> controller (CSR in, certificate chain out)
//! agent  --cri--> container runtime (labels of a pod's sandbox)
//! ```

pub mod ca;
pub mod channel;
pub mod codec;
pub mod cri;
#[allow(missing_docs, clippy::all)]
pub mod r#gen;
pub mod node;
pub mod xds;
