//! What several tests need.

pub mod model;
pub mod process;
pub mod tokens;
