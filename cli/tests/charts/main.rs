//! The charts and what `warren install` makes of them, with real Helm; some with a real API server. Every test needs the programs of the
//! test cluster, and is ignored without being asked for: `cargo test -p warren-cli --test charts -- --ignored`.

mod golden;
mod life;
mod others;
mod support;
mod values;
