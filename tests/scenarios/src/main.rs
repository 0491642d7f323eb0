//! `warren-scenarios`: runs the scenarios and the demo.

fn main() {}
