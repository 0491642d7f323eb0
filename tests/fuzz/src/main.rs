//! The fuzzer's command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli: warren_fuzz::command::Cli = match warren_arguments::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    match warren_fuzz::command::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("warren-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
