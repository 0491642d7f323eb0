//! What is to be written back to the API server: conditions of our own objects and of what is ours in the Gateway API, events
//! about others. By the leader only.
//!
//! ```text
//! source: statuses as they are --+
//!                                +--> Board --what changed--> writer (leader) --server-side apply--> API server
//! warnings of source and index --+
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::sync::Notify;

use crate::model::{Id, Kind, ObjectKey};
use gateway::{Asks, Owned};

pub mod condition;
pub mod event;
pub mod gateway;
pub mod lease;
pub mod writer;

/// Who we are to the API server when we write.
pub const FIELD_MANAGER: &str = "warren-control";

/// An object with a status, as the API server holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Unique id.
    pub uid: Arc<str>,
    /// Its version, of which only equality means anything.
    pub version: Arc<str>,
    /// Counts changes of its specification.
    pub generation: i64,
    /// Whether it could not be taken at all.
    pub rejected: bool,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// What it asks for, where it is of the Gateway API.
    pub asks: Option<Asks>,
}

/// What has a status, and whose status or events may have to be written. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    observed: HashMap<ObjectKey, Observation>,
    /// Whether we write. Otherwise nothing is due: who begins to write looks at everything.
    writing: bool,
    dirty: HashSet<ObjectKey>,
}

impl Board {
    /// Takes in statuses as they are; None: the object is gone.
    pub fn observe(&self, observed: Vec<(ObjectKey, Option<Observation>)>) {
        let mut state = self.lock();
        for (key, observation) in observed {
            if matches!(key.kind, Kind::GatewayClass | Kind::Gateway) {
                state.pass_on(&key, observation.as_ref());
            }
            match observation {
                Some(observation) => {
                    if state.writing {
                        state.dirty.insert(key.clone());
                    }
                    state.observed.insert(key, observation);
                }
                None => {
                    state.observed.remove(&key);
                    state.dirty.remove(&key);
                }
            }
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// The warnings of an object changed.
    pub fn touch(&self, key: &ObjectKey) {
        let mut state = self.lock();
        if state.writing && state.dirty.insert(key.clone()) {
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// We write from now on. Everything may be due, `also` included: who wrote before may have missed something.
    pub fn begin(&self, also: impl IntoIterator<Item = ObjectKey>) {
        let mut state = self.lock();
        let known: Vec<ObjectKey> = state.observed.keys().cloned().collect();
        state.writing = true;
        state.dirty.extend(known);
        state.dirty.extend(also);
        drop(state);
        self.0.changed.notify_one();
    }

    /// We no longer write.
    pub fn end(&self) {
        let mut state = self.lock();
        state.writing = false;
        state.dirty.clear();
    }

    /// Waits until there is something, and takes it.
    pub async fn next(&self) -> Vec<ObjectKey> {
        loop {
            let changed = self.0.changed.notified();
            let dirty = std::mem::take(&mut self.lock().dirty);
            if !dirty.is_empty() {
                return dirty.into_iter().collect();
            }
            changed.await;
        }
    }

    /// The status of an object as it is.
    pub fn get(&self, key: &ObjectKey) -> Option<Observation> {
        self.lock().observed.get(key).cloned()
    }

    /// The conditions were written.
    pub fn written(&self, key: &ObjectKey, conditions: Vec<Condition>) {
        if let Some(observation) = self.lock().observed.get_mut(key) {
            observation.conditions = conditions;
        }
    }

    fn asks(&self, kind: Kind, id: Id) -> Option<Asks> {
        self.lock()
            .observed
            .get(&ObjectKey { kind, id })?
            .asks
            .clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owned for Board {
    fn class(&self, name: &str) -> bool {
        self.asks(Kind::GatewayClass, Id::new("", name)) == Some(Asks::Class(true))
    }

    fn gateway(&self, id: &Id) -> bool {
        match self.asks(Kind::Gateway, id.clone()) {
            Some(Asks::Gateway(class)) => self.class(&class),
            _ => false,
        }
    }
}

impl State {
    /// Whose class or Gateway comes, goes or changes may be ours now, or no longer.
    fn pass_on(&mut self, key: &ObjectKey, observation: Option<&Observation>) {
        let before = self.observed.get(key).and_then(|o| o.asks.as_ref());
        if !self.writing || before == observation.and_then(|o| o.asks.as_ref()) {
            return;
        }
        let dependents = self.observed.keys().filter(|k| k.kind.is_gateway_api());
        self.dirty.extend(dependents.cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: Kind::AuthorizationPolicy,
            id: Id::new("shop", name),
        }
    }

    /// Pods with warnings come and go for years; a replica that never leads must not remember them.
    #[tokio::test]
    async fn only_a_writer_collects_what_is_due() {
        let board = Board::default();
        board.observe(vec![(key("a"), Some(Observation::default()))]);
        board.touch(&key("b"));
        assert!(board.lock().dirty.is_empty());
        board.begin([key("c")]);
        let mut due = board.next().await;
        due.sort();
        assert_eq!(due, [key("a"), key("c")]);
        board.touch(&key("b"));
        assert_eq!(board.next().await, [key("b")]);
        board.touch(&key("b"));
        board.end();
        assert!(board.lock().dirty.is_empty());
    }

    #[tokio::test]
    async fn what_is_gone_is_not_due() {
        let board = Board::default();
        board.begin([]);
        board.observe(vec![(key("a"), Some(Observation::default()))]);
        board.observe(vec![(key("a"), None)]);
        assert_eq!(board.get(&key("a")), None);
        assert!(board.lock().dirty.is_empty());
    }
}
