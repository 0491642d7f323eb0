//! Ctrl-C: whoever works looks here between steps, stops, and tidies up.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};

static CAME: AtomicBool = AtomicBool::new(false);

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// Takes the signals that ask a program to end. To be called before any other thread starts. The second one ends the process at once.
///
/// # Errors
/// The kernel refuses.
pub fn watch() -> Result<()> {
    signals().thread_block().context("block signals")?;
    std::thread::spawn(|| {
        while let Ok(signal) = signals().wait() {
            if CAME.swap(true, Ordering::SeqCst) {
                std::process::exit(128 + signal as i32);
            }
            eprintln!("stopping; once more to leave everything as it is");
        }
    });
    Ok(())
}

/// Undoes what a process inherited from one that watches.
///
/// # Errors
/// The kernel refuses.
pub fn unblock() -> Result<()> {
    SigSet::all().thread_unblock().context("unblock signals")
}

/// Whether a signal came.
pub fn came() -> bool {
    CAME.load(Ordering::SeqCst)
}

/// Forgets a signal, so that what tidies up is not stopped by it.
pub fn forget() {
    CAME.store(false, Ordering::SeqCst);
}

/// An error if a signal came.
///
/// # Errors
/// One did.
pub fn check() -> Result<()> {
    if came() {
        bail!("interrupted");
    }
    Ok(())
}
