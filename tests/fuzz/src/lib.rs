//! Fuzz targets for every parser of foreign bytes: each is a plain function of bytes that must return, whatever it is given,
//! and that panics where a promise is broken. Corpora are replayed by `cargo test`; long runs mutate them.
//!
//! ```text
//! corpus/<target>/* --> Mutator --> Target::run (panic, time and memory watched) --> crash file
//!                          ^------- inputs that reach new code (`guided` builds only)
//! ```

pub mod command;
pub mod corpus;
pub mod coverage;
pub mod guided;
pub mod mutate;
pub mod runner;
pub mod seeds;
pub mod targets;
pub mod watch;

pub use targets::{TARGETS, Target, find};
