//! `sessionAffinity: ClientIP`: a client keeps its endpoint of a service port while it keeps coming back.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Candidate, pick};
use crate::address::canonical;
use crate::service::ServiceKey;
use crate::workload::Uid;

/// Which endpoint each client address was given. Holds at most as many entries as told; the one not used for longest
/// goes first, which costs that client its affinity and nothing else.
#[derive(Debug)]
pub struct AffinityTable {
    capacity: usize,
    entries: HashMap<Key, Entry>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    service: ServiceKey,
    port: u16,
}

#[derive(Debug)]
struct Entry {
    endpoint: Uid,
    last_used: Instant,
    /// Its place in `by_use`.
    turn: u64,
}

impl AffinityTable {
    /// An empty table for at most `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The endpoint for a connection of `client` to `port` of `service`: the one that it had at most `timeout` ago, if
    /// that is still a candidate, otherwise one at random by weight. Every use starts the time-out anew, as
    /// kube-proxy's does. None if there is nothing to pick.
    pub fn pick<'c>(
        &mut self,
        (client, service, port): (IpAddr, &ServiceKey, u16),
        timeout: Duration,
        candidates: &'c [Candidate],
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<&'c Candidate> {
        let key = Key {
            client: canonical(client),
            service: service.clone(),
            port,
        };
        let fresh = |e: &&Entry| now.saturating_duration_since(e.last_used) <= timeout;
        let held = self.entries.get(&key).filter(fresh).map(|e| &e.endpoint);
        let kept = held.and_then(|uid| candidates.iter().find(|c| c.workload.uid == *uid));
        let Some(chosen) = kept.or_else(|| pick(candidates, rng)) else {
            self.forget(&key);
            return None;
        };
        self.remember(key, chosen.workload.uid.clone(), now);
        Some(chosen)
    }

    /// How many entries are held, expired ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remember(&mut self, key: Key, endpoint: Uid, now: Instant) {
        self.forget(&key);
        if self.capacity == 0 {
            return;
        }
        if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(
            key,
            Entry {
                endpoint,
                last_used: now,
                turn: self.uses,
            },
        );
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.turn);
        }
    }
}
