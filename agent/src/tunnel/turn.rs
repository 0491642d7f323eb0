//! Whose turn it is: which of several tunnels is served.

use std::collections::VecDeque;

/// Tunnels that are remembered as replaced; more than an update ever runs side by side.
const REMEMBERED: usize = 8;

/// The tunnel that is served, and those that it and its predecessors have replaced.
#[derive(Debug, Default)]
pub(super) struct Turn {
    current: Option<(u64, String)>,
    replaced: VecDeque<String>,
}

impl Turn {
    /// Whether the tunnel `instance`, connected by `link`, is the one to serve from now on.
    pub(super) fn admit(&mut self, link: u64, instance: &str) -> bool {
        if let Some((_, current)) = self.current.as_ref().filter(|(_, c)| c != instance) {
            if self.replaced.iter().any(|old| old == instance) {
                return false;
            }
            self.replaced.push_back(current.clone());
            if self.replaced.len() > REMEMBERED {
                self.replaced.pop_front();
            }
        }
        self.current = Some((link, instance.to_owned()));
        true
    }

    /// A connection has ended. Where it was the one that is served, anybody may come again.
    pub(super) fn leave(&mut self, link: u64) {
        if self
            .current
            .take_if(|(current, _)| *current == link)
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
        assert!(turn.admit(1, "old"));
        assert!(turn.admit(2, "new"));
        turn.leave(1);
        assert!(!turn.admit(3, "old"));
        turn.leave(3);
        assert!(!turn.admit(4, "old"));
        assert!(
            turn.admit(5, "new"),
            "its own successor on another connection"
        );
        turn.leave(2);
        assert!(!turn.admit(6, "old"));
        turn.leave(5);
        assert!(turn.admit(7, "old"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut turn = Turn::default();
        for link in 0..100 {
            assert!(turn.admit(link, &link.to_string()));
        }
        assert_eq!(turn.replaced.len(), REMEMBERED);
    }
}
