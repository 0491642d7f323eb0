//! The fuzzer's command line.
fn main() {}
