//! Whose turn it is: which of several tunnels is served.

use std::collections::VecDeque;

/// Tunnels that are remembered as replaced; more than an update ever runs side by side.
const REMEMBERED: usize = 8;

/// The tunnel that is served, and those that it and its predecessors have replaced.
#[derive(Debug, Default)]
pub(super) struct Turn {
    current: Option<Current>,
    replaced: VecDeque<String>,
}

/// Who is served.
#[derive(Debug)]
struct Current {
    link: u64,
    instance: String,
    started: u64,
}

impl Turn {
    /// Whether the tunnel `instance`, connected by `link`, is the one to serve from now on. An agent that has just begun may hear of a tunnel
    /// before it hears of the one that this is to replace: `started`, when its process did, in ticks since boot, tells which is which.
    pub(super) fn admit(&mut self, link: u64, instance: &str, started: u64) -> bool {
        if let Some(current) = self.current.as_ref().filter(|c| c.instance != instance) {
            let older = started < current.started;
            if older || self.replaced.iter().any(|old| old == instance) {
                return false;
            }
            self.replaced.push_back(current.instance.clone());
            if self.replaced.len() > REMEMBERED {
                self.replaced.pop_front();
            }
        }
        self.current = Some(Current {
            link,
            instance: instance.to_owned(),
            started,
        });
        true
    }

    /// A connection has ended. Where it was the one that is served, anybody may come again.
    pub(super) fn leave(&mut self, link: u64) {
        if self
            .current
            .take_if(|current| current.link == link)
            .is_some()
        {
            self.replaced.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_that_was_replaced_comes_back_only_when_its_successor_is_gone() {
        let mut turn = Turn::default();
        assert!(turn.admit(1, "old", 0));
        assert!(turn.admit(2, "new", 0));
        turn.leave(1);
        assert!(!turn.admit(3, "old", 0));
        turn.leave(3);
        assert!(!turn.admit(4, "old", 0));
        assert!(
            turn.admit(5, "new", 0),
            "its own successor on another connection"
        );
        turn.leave(2);
        assert!(!turn.admit(6, "old", 0));
        turn.leave(5);
        assert!(turn.admit(7, "old", 0));
    }

    #[test]
    fn whoever_comes_first_the_younger_process_is_served() {
        let mut turn = Turn::default();
        assert!(turn.admit(1, "new", 200));
        assert!(!turn.admit(2, "old", 100));
        turn.leave(2);
        turn.leave(1);
        assert!(turn.admit(3, "old", 100), "while there is no other");
        assert!(turn.admit(4, "new", 200));
        assert!(!turn.admit(5, "old", 100));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut turn = Turn::default();
        for link in 0..100 {
            assert!(turn.admit(link, &link.to_string(), 0));
        }
        assert_eq!(turn.replaced.len(), REMEMBERED);
    }
}
