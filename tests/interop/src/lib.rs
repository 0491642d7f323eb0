//! A hand-written peer of the mesh: HTTP/2, HPACK, gRPC and protobuf are coded here once more, from the RFCs and from the
//! field numbers of Istio's APIs, and nothing is shared with Warren's own wire code, so that an error there cannot hide.
//!
//! ```text
//! cert, xds ─► dial ─► tls ─► h2 ─► grpc ─► ads ─► schema ─► checks ─► JSON lines
//! connect, serve ────► tls ─► h2 ─► hbone (CONNECT, baggage, forwarded) ─► JSON lines
//! attack ────────────► tls or unix sockets ─► wrong bytes ─► how it ended, the victim's memory ─► JSON lines
//! ```
#![forbid(unsafe_code)]

pub mod ads;
pub mod attack;
pub mod command;
pub mod dial;
pub mod error;
pub mod grpc;
pub mod h2;
pub mod hbone;
pub mod hpack;
pub mod pki;
pub mod proto;
pub mod report;
pub mod schema;
pub mod tls;
