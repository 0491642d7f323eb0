//! `warren-control`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use warren_admin::arguments;
use warren_control::run::run;
use warren_control::settings::Settings;

fn main() -> ExitCode {
    let settings = match arguments::parse_checked(Settings::checked) {
        Ok(settings) => settings,
        Err(status) => return status,
    };
    let log = match warren_admin::logging::init(&settings.log_filter(), settings.log_format) {
        Ok(log) => log,
        Err(e) => return arguments::refuse::<Settings>(&format!("--log: {e}")),
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
