//! The command line of every program of Warren: what is wrong with it is told in one line, with exit status 2.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

/// Help, where a command was wanted.
const NO_ARGUMENTS: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// Parses this process's arguments. Help and version are printed, and end the process.
///
/// # Errors
/// They are bad; what is wrong was told.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    parse_checked(Ok)
}

/// The same, with what `check` finds wrong in their combination.
///
/// # Errors
/// They are bad; what is wrong was told.
pub fn parse_checked<T: Parser>(
    check: impl FnOnce(T) -> Result<T, clap::Error>,
) -> Result<T, ExitCode> {
    parse_from(std::env::args_os(), check)
}

/// Parses the arguments that are given, the program's name first; otherwise as [`parse_checked`].
///
/// # Errors
/// They are bad; what is wrong was told.
pub fn parse_from<T: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    check: impl FnOnce(T) -> Result<T, clap::Error>,
) -> Result<T, ExitCode> {
    match T::try_parse_from(arguments).and_then(check) {
        Ok(parsed) => Ok(parsed),
        Err(e) if !e.use_stderr() || e.kind() == NO_ARGUMENTS => e.exit(),
        Err(e) => Err(refuse::<T>(&in_one_line(&e.to_string()))),
    }
}

/// Tells what is wrong with the arguments of `T`'s program.
pub fn refuse<T: Parser>(problem: &str) -> ExitCode {
    let command = T::command();
    let name = command.get_name();
    eprintln!("{name}: {problem} (see {name} --help)");
    ExitCode::from(2)
}

/// What is wrong, without the hints and the usage that follow it.
fn in_one_line(text: &str) -> String {
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Settings {
        #[arg(long)]
        node: String,
        #[arg(long, value_parser = ["on", "off"], default_value = "on")]
        direct: String,
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        for (arguments, parts) in [
            (&["program"][..], &["--node"][..]),
            (
                &["program", "--node", "a", "--direct", "maybe"],
                &["maybe", "on, off"],
            ),
            (&["program", "--nod", "a"], &["--nod", "--node"]),
        ] {
            let error = Settings::try_parse_from(arguments).expect_err("bad");
            let line = in_one_line(&error.to_string());
            assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
            assert!(!line.starts_with("error"), "{line}");
            for part in parts {
                assert!(line.contains(part), "{line}");
            }
        }
    }
}
