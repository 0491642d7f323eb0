//! How fast the mesh is, as ratios to the same path without it, measured alternately in one lab; and how the controller grows.
//! Medians and their exact confidence intervals, no timed assertions: the figures go to `docs/`.
//!
//! ```text
//! warren-bench run -> Lab (two nodes, an enrolled and a plain namespace) -> suite::{same_node, cross_node, memory}
//!                  -> warren-control over generated directories          -> controller
//!                  -> Results -> docs/bench.json, docs/BENCHMARKS.md
//! in the pods: warren-bench serve | load
//! ```

pub mod command;
pub mod controller;
pub mod lab;
pub mod load;
pub mod machine;
pub mod process;
pub mod report;
pub mod results;
pub mod stats;
pub mod suite;
