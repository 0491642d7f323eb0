//! The `warren` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use warren_cli::Arguments;

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => warren_cli::run(&arguments),
        Err(error)
            if !error.use_stderr()
                || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            error.exit()
        }
        Err(error) => {
            let text = error.to_string();
            let what = text.split("\n\n").next().unwrap_or(&text);
            let words: Vec<&str> = what.split_whitespace().collect();
            let words = words.join(" ");
            let what = words.trim_start_matches("error: ");
            eprintln!("warren: {what} (see warren --help)");
            ExitCode::from(2)
        }
    }
}
