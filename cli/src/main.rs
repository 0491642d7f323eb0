//! The `warren` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use warren_admin::arguments;

fn main() -> ExitCode {
    match arguments::parse() {
        Ok(arguments) => warren_cli::run(&arguments),
        Err(status) => status,
    }
}
