//! Pauses between attempts to connect.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(15);

/// Doubling pauses with jitter, so that the tunnels of a mesh do not return to a restarted controller all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub fn new() -> Self {
        Self { next: FIRST }
    }

    /// Half to all of the current step.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(MAX);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_starts_again() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            let step = backoff.next;
            let pause = backoff.pause();
            assert!(
                pause >= step / 2 && pause <= step && pause <= MAX,
                "{pause:?} of {step:?}"
            );
        }
        assert_eq!(backoff.next, MAX);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
