//! Code generated from `proto/` by `cargo xtask generate`; do not edit.
