//! How long the connections lived that ended a moment ago.

use std::time::{Duration, Instant};

/// Of two windows, one runs and the other has just run out.
const WINDOW: Duration = Duration::from_millis(100);
/// Fewer than this say nothing.
const ENOUGH: u32 = 20;
/// A hand-over to another thread costs tens of microseconds on both: much for a connection that lives this long, nothing
/// for one that lives longer.
const SHORT: Duration = Duration::from_millis(20);

/// Counts connections that ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    began: Option<Instant>,
    now: Ended,
    before: Ended,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ended {
    count: u32,
    lived: Duration,
}

impl Recent {
    /// Takes a connection that ended.
    pub(super) fn ended(&mut self, now: Instant, lived: Duration) {
        self.turn(now);
        self.now.count += 1;
        self.now.lived += lived;
    }

    /// Whether connections come and go quickly at the moment.
    pub(super) fn are_short(&mut self, now: Instant) -> bool {
        self.turn(now);
        let count = self.now.count + self.before.count;
        count >= ENOUGH && (self.now.lived + self.before.lived) / count < SHORT
    }

    fn turn(&mut self, now: Instant) {
        let age = self.began.map_or(WINDOW * 2, |b| now.duration_since(b));
        if age >= WINDOW {
            self.before = if age < WINDOW * 2 {
                self.now
            } else {
                Ended::default()
            };
            self.now = Ended::default();
            self.began = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_short_lives_count_and_are_forgotten() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        let ms = Duration::from_millis;
        for i in 0..19 {
            recent.ended(start + ms(i), ms(1));
        }
        assert!(!recent.are_short(start + ms(20)), "too few");
        recent.ended(start + ms(21), ms(1));
        assert!(recent.are_short(start + ms(22)));
        assert!(recent.are_short(start + ms(150)), "the window before");
        assert!(!recent.are_short(start + ms(400)), "long ago");
    }

    #[test]
    fn long_lives_are_not_short() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        for _ in 0..100 {
            recent.ended(now, Duration::from_secs(1));
        }
        assert!(!recent.are_short(now));
    }
}
