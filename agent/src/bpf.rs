//! The kernel object: loading, pinning, attaching, and its maps.
//!
//! ```text
//! object file --load--> maps (pinned, reused) + programs --attach--> cgroup links (pinned, updated in place)
//!                                                        `--a pod--> lookup links (pinned)
//! ```

mod attach;
mod error;
mod events;
mod load;
mod maps;
pub mod mount;
pub mod observe;
mod pins;
pub mod requirements;
mod sys;
mod table;

pub use error::BpfError;
pub use events::{AsyncEvents, EventReader, decode, spawn_kernel_log};
pub use load::{Attach, Loaded, load};
pub use maps::{Existing, Maps};
pub use pins::{Pins, cleanup};
