//! What the kernel was told: every answer that it may still hold, so that a change closes no more than it has to.

use std::collections::HashMap;

use warren_abi::{VERDICT_DIRECT, VerdictKey};

use super::paths::{Pair, pair};

/// Most answers remembered: as many as the kernel's map holds.
const MAX: usize = 65_536;

/// Answers of the current generation. The kernel may have forgotten some; it holds none that is not here.
#[derive(Debug, Default)]
pub struct Answers {
    given: HashMap<VerdictKey, u32>,
}

impl Answers {
    /// Notes an answer that is about to be given; false where there is no room for it.
    pub fn note(&mut self, question: &VerdictKey, verdict: u32) -> bool {
        if self.given.len() >= MAX && !self.given.contains_key(question) {
            return false;
        }
        self.given.insert(*question, verdict);
        true
    }

    /// The questions that were answered with a direct flow.
    pub fn direct(&self) -> Vec<VerdictKey> {
        let direct = |(q, v): (&VerdictKey, &u32)| (*v == VERDICT_DIRECT).then_some(*q);
        self.given.iter().filter_map(direct).collect()
    }

    /// Forgets and returns those that were not.
    pub fn take_tunnelled(&mut self) -> Vec<VerdictKey> {
        let tunnelled = self.given.extract_if(|_, v| *v != VERDICT_DIRECT);
        tunnelled.map(|(question, _)| question).collect()
    }

    /// Forgets and returns those about one pair.
    pub fn take_pair(&mut self, of: Pair) -> Vec<VerdictKey> {
        let about = self.given.extract_if(|question, _| pair(question) == of);
        about.map(|(question, _)| question).collect()
    }

    /// Forgets everything about a pod.
    pub fn forget(&mut self, number: u32) {
        self.given
            .retain(|q, _| q.source != number && q.destination != number);
    }

    /// Forgets everything: the generation has changed.
    pub fn clear(&mut self) {
        self.given.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_abi::VERDICT_TUNNEL;

    #[test]
    fn there_is_a_limit_and_known_questions_are_within_it() {
        let mut answers = Answers::default();
        let question = |n: u32| VerdictKey {
            source: n,
            destination: 1,
            port: 80,
            family: 4,
        };
        assert!((0..MAX as u32).all(|n| answers.note(&question(n), VERDICT_DIRECT)));
        assert!(!answers.note(&question(MAX as u32), VERDICT_DIRECT));
        assert!(answers.note(&question(7), VERDICT_TUNNEL));
        assert_eq!(answers.take_tunnelled(), [question(7)]);
        assert!(answers.note(&question(MAX as u32), VERDICT_DIRECT));
    }
}
