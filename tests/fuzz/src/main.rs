//! The fuzzer's command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match warren_fuzz::command::run(warren_fuzz::command::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("warren-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
