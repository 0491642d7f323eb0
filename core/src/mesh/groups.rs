//! Ordered groups of names under a key.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// From a key to the set of names under it; a key without names takes no memory.
#[derive(Clone, Debug)]
pub(super) struct Groups<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for Groups<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V: Ord> Groups<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.0.entry(key).or_default().insert(value);
    }

    pub(super) fn remove(&mut self, key: &K, value: &V) {
        if let Some(group) = self.0.get_mut(key) {
            group.remove(value);
            if group.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// The names under `key`, in order.
    pub(super) fn get<Q>(&self, key: &Q) -> impl ExactSizeIterator<Item = &V> + Clone
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(key).map(BTreeSet::iter).unwrap_or_default()
    }

    /// How many keys have names under them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
