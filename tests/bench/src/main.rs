//! The benchmark's command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match warren_bench::command::run(warren_bench::command::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("warren-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
