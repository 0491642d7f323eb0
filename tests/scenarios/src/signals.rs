//! Ctrl-C and SIGTERM: noted by a handler, acted upon by a thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit status of a run that was interrupted.
pub const INTERRUPTED: i32 = 130;

/// On the first SIGINT, SIGTERM or SIGHUP runs `clean_up` on a thread of its own and ends the process.
#[allow(unsafe_code)]
pub fn on_interrupt(clean_up: impl FnOnce() + Send + 'static) -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot handle {signal}"))?;
    }
    std::thread::spawn(move || {
        while !ASKED.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        clean_up();
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Where a signal came, leaves the rest to the cleaning thread, which ends the process.
pub fn stop_here_if_interrupted() {
    while ASKED.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_secs(1));
    }
}

extern "C" fn note(_signal: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}
