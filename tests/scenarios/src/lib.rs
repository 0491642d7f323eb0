//! Tests that run in the lab with real programs, the demo, and the program at both ends of their connections.
//! A scenario drives the lab from outside, as a person would, and judges only what applications, packets and files show.
//!
//! ```text
//! warren-scenarios ─► lab (subprocess) ─► pods: warren-peer serve ◄──mesh── warren-peer connect ─► JSON line
//!        │                                nodes: tcpdump, nft, bpftool                                │
//!        └──────────────────────────── Result of each scenario ◄──────────────────────────────────────┘
//! ```

pub mod capture;
pub mod cri;
pub mod demo;
pub mod hello;
pub mod lab;
pub mod peer;
pub mod process;
pub mod runner;
pub mod scenario;
pub mod signals;
pub mod topology;
pub mod world;
