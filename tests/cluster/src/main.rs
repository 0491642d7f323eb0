//! The binary of the cluster.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    warren_cluster::commands::main(std::env::args_os())
}
