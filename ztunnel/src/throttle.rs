//! Bounds how often a stranger can make us write a log line.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines in one period.
const BURST: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Lets a few events through in each second and counts the rest.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    passed: u32,
    held_back: u64,
}

impl Throttle {
    /// Some if the event may be written, with how many were held back since the last one that was.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut w = self.0.lock();
        if w.began.is_none_or(|b| now.duration_since(b) >= PERIOD) {
            w.began = Some(now);
            w.passed = 0;
        }
        if w.passed >= BURST {
            w.held_back += 1;
            return None;
        }
        w.passed += 1;
        Some(std::mem::take(&mut w.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_is_counted() {
        let (t, now) = (Throttle::default(), Instant::now());
        let passed = (0..100).filter(|_| t.pass_at(now).is_some()).count();
        assert_eq!(passed, BURST as usize);
        assert_eq!(t.pass_at(now + PERIOD), Some(80));
        assert_eq!(t.pass_at(now + PERIOD), Some(0));
    }
}
