//! The layout shared by the kernel programs, the agent that fills their maps, and the tunnel that asks them by socket option.
//! Everything is `repr(C)` without padding; sizes are asserted at compile time.
//!
//! ```text
//! agent --maps--> kernel programs --ring buffer (Event)--> agent
//! tunnel --getsockopt/setsockopt (OriginalDst, ClientAddr)--> kernel programs
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod event;
pub mod ip;
pub mod maps;
pub mod names;
pub mod sockopt;

pub use event::{Event, EventKind};
pub use ip::Ip;
pub use maps::*;
pub use sockopt::*;
