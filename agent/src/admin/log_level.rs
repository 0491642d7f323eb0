//! The log level of this process and of the kernel programs.

use warren_admin::types::LogLevel;
use warren_admin::{Admin, LogHandle, RouteError};

use super::{Sources, switch};
use crate::node::Input;

/// Adds `/log-level`. The kernel programs write lines only while `warren_ebpf` may log them at `info`, and
/// a filter has to name it, since they write a line a connection.
pub(super) fn add(admin: Admin, s: Sources, log: LogHandle) -> Admin {
    let reader = log.clone();
    let read = move || {
        std::future::ready(LogLevel {
            filter: reader.get(),
        })
    };
    admin
        .route("/log-level", read)
        .put("/log-level", move |level: LogLevel| {
            let (s, result) = (
                s.clone(),
                log.set(&level.filter).map_err(RouteError::bad_request),
            );
            async move {
                result?;
                tracing::info!(filter = %level.filter, "log level changed");
                switch(s, Input::KernelLog(wants_kernel_log(&level.filter)))
                    .await
                    .map(|_| level)
            }
        })
}

/// Whether a filter asks for the kernel programs' lines: `info,warren_ebpf=info`, or everything at `debug` or `trace`.
fn wants_kernel_log(filter: &str) -> bool {
    let directives = filter.split(',').map(str::trim);
    let level = |l: &str| ["info", "debug", "trace"].contains(&l.to_ascii_lowercase().as_str());
    let mut wanted = false;
    for directive in directives {
        match directive.split_once('=') {
            Some((target, l)) if target.starts_with("warren_ebpf") => wanted = level(l),
            Some(_) => {}
            None if directive.starts_with("warren_ebpf") => wanted = true,
            None => wanted |= level(directive) && !directive.eq_ignore_ascii_case("info"),
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::wants_kernel_log;

    #[test]
    fn the_kernel_programs_log_only_when_they_are_asked_to() {
        for filter in [
            "info",
            "warn",
            "info,warren_agent=debug",
            "info,warren_ebpf=warn",
            "debug,warren_ebpf=off",
        ] {
            assert!(!wants_kernel_log(filter), "{filter}");
        }
        for filter in [
            "debug",
            "trace",
            "info,warren_ebpf=info",
            "info, warren_ebpf=debug",
            "warren_ebpf",
        ] {
            assert!(wants_kernel_log(filter), "{filter}");
        }
    }
}
