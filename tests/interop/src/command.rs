//! The subcommands. Each prints JSON lines, the last with `"event":"done"`, and tells whether what was expected held.

pub mod attack;
pub mod cert;
pub mod connect;
pub mod echo;
pub mod serve;
pub mod xds;
