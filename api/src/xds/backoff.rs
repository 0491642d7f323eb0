//! Pauses between attempts to connect.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(100);
/// While the controller may be restarting: agent and tunnel of a node, each with its own pauses, are then back within this time
/// of each other, so that a policy changed meanwhile holds on both within a second.
const SOON: Duration = Duration::from_millis(400);
/// So many attempts are made soon (about 12 s).
const SOON_ATTEMPTS: u32 = 40;
const MAX: Duration = Duration::from_secs(5);

/// Growing pauses with jitter, so that the tunnels of a mesh do not return to a restarted controller all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// Half to all of the current step.
    pub fn pause(&mut self) -> Duration {
        let step = self.step();
        self.attempts = self.attempts.saturating_add(1);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    fn step(&self) -> Duration {
        let doubled = |from: Duration, times: u32| from * (1 << times.min(8));
        match self.attempts.checked_sub(SOON_ATTEMPTS) {
            None => doubled(FIRST, self.attempts).min(SOON),
            Some(later) => doubled(SOON, later).min(MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_short_for_a_while_then_grows_to_its_limit_and_starts_again() {
        let mut backoff = Backoff::default();
        let mut soon = Duration::ZERO;
        for n in 0..1000 {
            let step = backoff.step();
            let pause = backoff.pause();
            assert!(
                pause >= step / 2 && pause <= step && pause <= MAX,
                "{pause:?} of {step:?}"
            );
            if n < SOON_ATTEMPTS {
                assert!(pause <= SOON);
                soon += step / 2;
            }
        }
        assert!(soon >= Duration::from_secs(7), "{soon:?}");
        assert_eq!(backoff.step(), MAX);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
