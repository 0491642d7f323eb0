//! Container images without a container engine: a tree of files becomes an OCI image archive that containerd imports and that
//! registry tools push.
//!
//! ```text
//! Tree (path -> file, folder, link) --layer--> Image --archive--> NAME.tar
//! ```
//!
//! The same input gives the same bytes: entries are sorted, every time is 0, every owner is root.
#![forbid(unsafe_code)]

mod archive;
mod closure;
mod digest;
mod image;
mod layer;
mod mesh;
mod tree;

pub use closure::libraries;
pub use image::Image;
pub use mesh::{Component, components};
pub use tree::{Source, Tree};
