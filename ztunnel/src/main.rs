//! The tunnel's process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use warren_admin::arguments;
use warren_ztunnel::settings::Settings;

fn main() -> ExitCode {
    let settings: Settings = match arguments::parse() {
        Ok(settings) => settings,
        Err(status) => return status,
    };
    let log = match warren_admin::logging::init(&settings.log, settings.log_format) {
        Ok(log) => log,
        Err(e) => return arguments::refuse::<Settings>(&format!("--log: {e}")),
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
