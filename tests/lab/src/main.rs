//! The binary of the lab.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    warren_lab::commands::main(std::env::args_os())
}
