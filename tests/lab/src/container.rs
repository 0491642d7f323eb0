//! Containers without images: a pod's sandbox holds its namespaces, its containers are processes inside them.
//!
//! Both are hidden commands of the lab binary, started with a JSON specification. They are single-threaded,
//! because the kernel lets only such processes change their mount namespace.

mod enter;
mod sandbox;
mod spec;

pub use enter::run as run_entry;
pub use sandbox::run as run_sandbox;
pub use spec::{Bind, Entry, PodFiles, SandboxSpec};
