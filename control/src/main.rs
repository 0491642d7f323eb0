//! `warren-control`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use warren_control::run::run;
use warren_control::settings::Settings;

fn main() -> ExitCode {
    let settings = match Settings::try_parse().and_then(Settings::checked) {
        Ok(settings) => settings,
        Err(e) if !e.use_stderr() => e.exit(),
        Err(e) => {
            let text = e.to_string();
            // What is wrong, without the usage that follows it.
            let what = text.split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = what.split_whitespace().collect();
            let what = words.join(" ");
            let what = what.trim_start_matches("error: ");
            eprintln!("warren-control: {what} (see warren-control --help)");
            return ExitCode::from(2);
        }
    };
    let log = match warren_admin::logging::init(&settings.log_filter(), settings.log_format) {
        Ok(log) => log,
        Err(e) => {
            eprintln!("warren-control: {e}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("warren-control: cannot start threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(settings, log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            eprintln!("warren-control: {e:#}");
            ExitCode::FAILURE
        }
    }
}
