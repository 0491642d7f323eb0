//! The tunnel's process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use warren_ztunnel::settings::Settings;

fn main() -> ExitCode {
    let settings = Settings::parse();
    let log = match warren_admin::logging::init(&settings.log, settings.log_format) {
        Ok(log) => log,
        Err(e) => {
            eprintln!("warren-ztunnel: {e}");
            return ExitCode::from(2);
        }
    };
    match warren_ztunnel::run::run(settings, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}
