//! The `warren` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    warren_cli::run(&warren_cli::Arguments::parse())
}
