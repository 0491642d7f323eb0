//! The tunnel's process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use warren_ztunnel::settings::Settings;

fn main() -> ExitCode {
    let settings = match Settings::try_parse() {
        Ok(settings) => settings,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            e.exit()
        }
        Err(e) => return usage(&in_one_line(&e.to_string())),
    };
    let log = match warren_admin::logging::init(&settings.log, settings.log_format) {
        Ok(log) => log,
        Err(e) => return usage(&format!("--log: {e}")),
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "warren-ztunnel: must run as root: it makes sockets in pods' network namespaces (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
        );
        return ExitCode::FAILURE;
    }
    match warren_ztunnel::run::run(settings, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("warren-ztunnel: {problem} (see warren-ztunnel --help)");
    ExitCode::from(2)
}

/// What is wrong, without the usage that follows it.
fn in_one_line(text: &str) -> String {
    let what = text.split("\n\n").next().unwrap_or(text);
    let words: Vec<&str> = what.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}
