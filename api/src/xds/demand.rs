//! Names asked for on demand: who waits for them, and what has to be subscribed to.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Waiters;

/// Absent names that stay subscribed; the oldest is given up for a newer one.
const MAX_ABSENT: usize = 16 * 1024;
/// Names that wait for their first answer.
const MAX_PENDING: usize = 16 * 1024;

/// Why a demand was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DemandError {
    /// No answer in time; it is used when it arrives.
    #[error("the controller did not answer for `{name}` within {limit:?}; is it reachable?")]
    TimedOut {
        /// The name asked for.
        name: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Too many names without an answer.
    #[error("`{0}` was not asked for: {MAX_PENDING} names wait for the controller already")]
    TooMany(String),
    /// The client has ended, because the receiver of its updates was dropped.
    #[error("the xDS client has ended")]
    Ended,
}

/// A request of [`super::Client::demand`]; dropping `reply` unused tells the caller that there was no room.
#[derive(Debug)]
pub(super) struct Command {
    pub name: String,
    pub reply: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Present,
    Absent,
}

/// All names asked for.
#[derive(Debug, Default)]
pub(super) struct Demands {
    states: HashMap<String, State>,
    waiting: HashMap<String, Vec<oneshot::Sender<()>>>,
    pending: usize,
    absent: VecDeque<String>,
}

impl Demands {
    /// Takes a request in; true where `name` has to be subscribed to.
    pub fn register(&mut self, command: Command) -> bool {
        let Command { name, reply } = command;
        match self.states.get(&name) {
            Some(State::Present | State::Absent) => {
                let _ = reply.send(());
                return false;
            }
            Some(State::Pending) => {
                let waiters = self.waiting.entry(name).or_default();
                waiters.retain(|w| !w.is_closed());
                waiters.push(reply);
                return false;
            }
            None if self.pending >= MAX_PENDING => return false,
            None => {}
        }
        self.pending += 1;
        self.states.insert(name.clone(), State::Pending);
        self.waiting.insert(name, vec![reply]);
        true
    }

    /// Notes which names a response answered. Returns those who waited for them, and names to unsubscribe from.
    pub fn answer(&mut self, present: &[String], removed: &[String]) -> (Waiters, Vec<String>) {
        let mut woken = Vec::new();
        for (names, state) in [(present, State::Present), (removed, State::Absent)] {
            for name in names {
                self.settle(name, state, &mut woken);
            }
        }
        (Waiters(woken), self.evict())
    }

    /// Wakes everybody: all that there is has arrived.
    pub fn answer_all(&mut self) -> Waiters {
        self.states.clear();
        self.pending = 0;
        Waiters(
            self.waiting
                .drain()
                .flat_map(|(_, waiters)| waiters)
                .collect(),
        )
    }

    /// Every name that is subscribed to.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.states.keys().cloned()
    }

    fn settle(&mut self, name: &str, state: State, woken: &mut Vec<oneshot::Sender<()>>) {
        let Some(current) = self.states.get_mut(name) else {
            return;
        };
        if *current == State::Pending {
            self.pending -= 1;
        }
        if state == State::Absent && *current != State::Absent {
            self.absent.push_back(name.to_owned());
        }
        *current = state;
        woken.extend(self.waiting.remove(name).into_iter().flatten());
    }

    fn evict(&mut self) -> Vec<String> {
        let mut evicted = Vec::new();
        while self.absent.len() > MAX_ABSENT {
            let Some(name) = self.absent.pop_front() else {
                break;
            };
            if self.states.get(&name) == Some(&State::Absent) {
                self.states.remove(&name);
                evicted.push(name);
            }
        }
        evicted
    }
}
