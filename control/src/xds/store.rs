//! Resources in their encoded form, with a log of changes in which each name stands once, at its latest change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use tokio::sync::watch;

use super::Type;
use crate::index::Delta;

mod entry;

pub use entry::Entry;

/// Removals that are remembered; a client that was behind for longer has to connect anew.
const TOMBSTONES: usize = 100_000;

/// Where the change log stands.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Sequence number of the latest change.
    pub seq: u64,
    /// When it was made.
    pub at: Instant,
}

/// The store. Clones share.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<RwLock<Inner>>,
    head: Arc<watch::Sender<Head>>,
}

/// The content of the store, under one lock so that a session sees one moment.
#[derive(Debug, Default)]
pub struct Inner {
    seq: u64,
    types: [Resources; 2],
    forgotten: u64,
}

/// Resources of one type.
#[derive(Debug, Default)]
pub struct Resources {
    entries: HashMap<Arc<str>, (u64, Arc<Entry>)>,
    aliases: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    endpoints: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    log: BTreeMap<u64, Arc<str>>,
    alias_log: BTreeMap<u64, Arc<str>>,
    alias_seq: HashMap<Arc<str>, u64>,
    removed: HashMap<Arc<str>, u64>,
    removed_log: BTreeMap<u64, Arc<str>>,
}

impl Default for Store {
    fn default() -> Self {
        let head = Head {
            seq: 0,
            at: Instant::now(),
        };
        Self {
            inner: Arc::default(),
            head: Arc::new(watch::Sender::new(head)),
        }
    }
}

impl Store {
    /// Takes in a change of the index and wakes every session.
    pub fn publish(&self, delta: &Delta) {
        if delta.is_empty() {
            return;
        }
        let policies: Vec<_> = delta
            .policies
            .iter()
            .map(|(k, p)| entry::policy(k, p.as_deref()))
            .collect();
        let services = delta
            .services
            .iter()
            .map(|(k, s)| entry::service(k, s.as_deref()));
        let workloads = delta
            .workloads
            .iter()
            .map(|(u, w)| entry::workload(u, w.as_deref()));
        let addresses: Vec<_> = services.chain(workloads).collect();
        let seq = {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            for (name, entry) in policies {
                inner.set(Type::Authorization, name, entry);
            }
            for (name, entry) in addresses {
                inner.set(Type::Address, name, entry);
            }
            inner.forget();
            inner.seq
        };
        self.head.send_replace(Head {
            seq,
            at: Instant::now(),
        });
    }

    /// The content at this moment. Not to be held for long.
    pub fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when there is something new.
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }
}

impl Inner {
    /// Sequence number of the latest change.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Resources of a type.
    pub fn of(&self, kind: Type) -> &Resources {
        &self.types[kind as usize]
    }

    /// Whether a client that saw everything up to `seq` can still be told what was removed since.
    pub fn remembers(&self, seq: u64) -> bool {
        seq >= self.forgotten
    }

    fn set(&mut self, kind: Type, name: Arc<str>, entry: Option<Entry>) {
        self.seq += 1;
        let seq = self.seq;
        let resources = &mut self.types[kind as usize];
        let before = resources.entries.remove(&name);
        if let Some((old, entry)) = &before {
            resources.log.remove(old);
            resources.index(entry, false);
        }
        if let Some(old) = resources.removed.remove(&name) {
            resources.removed_log.remove(&old);
        }
        let mut aliases: BTreeSet<Arc<str>> =
            before.iter().flat_map(|(_, e)| e.aliases.clone()).collect();
        match entry {
            Some(entry) => {
                aliases.extend(entry.aliases.iter().cloned());
                resources.index(&entry, true);
                resources.log.insert(seq, name.clone());
                resources.entries.insert(name, (seq, Arc::new(entry)));
            }
            None => {
                resources.removed_log.insert(seq, name.clone());
                resources.removed.insert(name, seq);
            }
        }
        for alias in aliases {
            self.seq += 1;
            let resources = &mut self.types[kind as usize];
            if let Some(old) = resources.alias_seq.insert(alias.clone(), self.seq) {
                resources.alias_log.remove(&old);
            }
            resources.alias_log.insert(self.seq, alias);
        }
    }

    fn forget(&mut self) {
        for resources in &mut self.types {
            while resources.removed_log.len() > TOMBSTONES
                && let Some((seq, name)) = resources.removed_log.pop_first()
            {
                resources.removed.remove(&name);
                self.forgotten = self.forgotten.max(seq);
            }
            while resources.alias_log.len() > resources.aliases.len() + TOMBSTONES
                && let Some((seq, alias)) = resources.alias_log.pop_first()
            {
                resources.alias_seq.remove(&alias);
                self.forgotten = self.forgotten.max(seq);
            }
        }
    }
}

impl Resources {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The resource of this very name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.entries.get(name).map(|(_, e)| e)
    }

    /// All resources, in the order of their latest change.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.log.values().filter_map(|name| self.get(name))
    }

    /// The resources that a name or alias stands for.
    pub fn resolve(&self, asked: &str) -> Vec<&Arc<Entry>> {
        match self.get(asked) {
            Some(entry) => vec![entry],
            None => self
                .aliases
                .get(asked)
                .into_iter()
                .flatten()
                .filter_map(|n| self.get(n))
                .collect(),
        }
    }

    /// The workloads that back a service, by its resource name.
    pub fn endpoints(&self, service: &str) -> impl Iterator<Item = &Arc<Entry>> {
        self.endpoints
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|n| self.get(n))
    }

    /// Resources that are new or changed after `seq`.
    pub fn changed(&self, seq: u64) -> impl Iterator<Item = &Arc<Entry>> {
        self.log
            .range(after(seq))
            .filter_map(|(_, name)| self.get(name))
    }

    /// Names removed after `seq`.
    pub fn removed(&self, seq: u64) -> impl Iterator<Item = &Arc<str>> {
        self.removed_log.range(after(seq)).map(|(_, name)| name)
    }

    /// Aliases that stand for something else, or for something changed, after `seq`.
    pub fn changed_aliases(&self, seq: u64) -> impl Iterator<Item = &Arc<str>> {
        self.alias_log.range(after(seq)).map(|(_, alias)| alias)
    }

    fn index(&mut self, entry: &Entry, present: bool) {
        let maps = [
            (&mut self.aliases, &entry.aliases),
            (&mut self.endpoints, &entry.services),
        ];
        for (map, keys) in maps {
            for key in keys {
                crate::index::store::member(map, key.clone(), entry.name.clone(), present);
            }
        }
    }
}

fn after(seq: u64) -> (Bound<u64>, Bound<u64>) {
    (Bound::Excluded(seq), Bound::Unbounded)
}
