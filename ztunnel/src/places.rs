//! Bounded places: in all, and for each key, so that one that takes all it can get cannot keep others out.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Places, some of which are taken. Clones share.
#[derive(Clone, Debug)]
pub struct Places<K: Eq + Hash>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    all: usize,
    of_one: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    by_key: HashMap<K, usize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    places: Places<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Places<K> {
    /// So many in all, and so many for one key.
    pub fn new(all: usize, of_one: usize) -> Self {
        let taken = Taken {
            all: 0,
            by_key: HashMap::new(),
        };
        Self(Arc::new(Inner {
            all,
            of_one,
            taken: taken.into(),
        }))
    }

    /// A place for `key`, if there is one.
    pub fn take(&self, key: K) -> Option<Place<K>> {
        let mut taken = self.0.taken.lock();
        let of_one = taken.by_key.get(&key).copied().unwrap_or_default();
        if taken.all >= self.0.all || of_one >= self.0.of_one {
            return None;
        }
        taken.all += 1;
        taken.by_key.insert(key.clone(), of_one + 1);
        drop(taken);
        Some(Place {
            places: self.clone(),
            key,
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.taken.lock().all
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock();
        taken.all -= 1;
        if let Some(of_one) = taken.by_key.get_mut(&self.key) {
            *of_one -= 1;
            if *of_one == 0 {
                taken.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_cannot_take_all_places() {
        let places = Places::new(10, 4);
        let greedy: Vec<_> = (0..8).filter_map(|_| places.take("greedy")).collect();
        assert_eq!(greedy.len(), 4);
        let other = places.take("other");
        assert!(other.is_some());
        drop(greedy);
        assert!(places.take("greedy").is_some());
        assert_eq!((places.taken(), places.0.taken.lock().by_key.len()), (1, 1));
    }

    #[test]
    fn there_is_an_end_for_all() {
        let places = Places::new(3, 2);
        let taken: Vec<_> = (0..9).filter_map(|key| places.take(key)).collect();
        assert_eq!(taken.len(), 3);
    }
}
