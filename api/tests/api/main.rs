//! The wire contract from outside: conversions, the node socket, and the clients against servers in this process.

mod ca;
mod codec;
mod cri;
mod model;
mod node;
mod server;
mod xds;
