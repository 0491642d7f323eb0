//! Bounds on one input's time and memory. Whoever exceeds one is written down, and the process ends: nothing else can
//! stop a parser that loops.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::corpus;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one input may use.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest time.
    pub time: Duration,
    /// Growth of the process's resident memory, in bytes.
    pub memory: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            memory: 1 << 30,
        }
    }
}

/// The input that is being run, and since when.
#[derive(Clone, Debug, Default)]
pub struct Current(Arc<Mutex<Running>>);

type Running = Option<(Instant, Vec<u8>)>;

impl Current {
    /// An input begins.
    pub fn begin(&self, input: &[u8]) {
        *self.lock() = Some((Instant::now(), input.to_vec()));
    }

    /// It has ended; returns how long it took.
    pub fn end(&self) -> Duration {
        self.lock()
            .take()
            .map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is exceeded, and by which input.
    fn excess(&self, bounds: Bounds, memory: u64) -> Option<(String, Vec<u8>)> {
        let current = self.lock();
        let (since, input) = current.as_ref()?;
        let elapsed = since.elapsed();
        if elapsed > bounds.time {
            return Some((format!("still running after {elapsed:.1?}"), input.clone()));
        }
        let grown = memory > bounds.memory;
        grown.then(|| {
            (
                format!("the process has grown to {} MB", memory >> 20),
                input.clone(),
            )
        })
    }
}

/// Watches from a thread of its own. An input that exceeds a bound is saved into `crashes`, and the process ends with
/// exit status 1.
pub fn start(current: Current, bounds: Bounds, crashes: PathBuf) {
    let limit = Bounds {
        memory: resident() + bounds.memory,
        ..bounds
    };
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK_EVERY);
            let Some((what, input)) = current.excess(limit, resident()) else {
                continue;
            };
            let place = corpus::save(&crashes, &input);
            eprintln!("{what}; the input is {place:?}");
            std::process::exit(1);
        }
    });
}

/// Resident memory of this process in bytes (proc_pid_statm(5)).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_and_large_inputs_are_told_apart() {
        let current = Current::default();
        let bounds = Bounds {
            time: Duration::from_millis(1),
            memory: 100,
        };
        assert_eq!(current.excess(bounds, 500), None);
        current.begin(b"x");
        assert!(current.excess(Bounds::default(), 0).is_none());
        assert!(
            current
                .excess(
                    Bounds {
                        time: Duration::from_secs(9),
                        memory: 100
                    },
                    101
                )
                .unwrap()
                .0
                .contains("grown")
        );
        thread::sleep(Duration::from_millis(3));
        assert_eq!(current.excess(bounds, 0).unwrap().1, b"x");
        assert!(current.end() >= Duration::from_millis(3));
        assert!(resident() > 0);
    }
}
