//! Who holds an address, where several may claim it.
//!
//! After a node crash a pod's address can be given to a new pod before the old one is known to be gone. The one that
//! last claimed it (or last became healthy) while healthy holds it; when it goes, the other one has it again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::canonical;

/// From an address on a network to the one that holds it.
#[derive(Clone, Debug)]
pub(super) struct AddressIndex<K>(HashMap<Arc<str>, HashMap<IpAddr, Claims<K>>>);

impl<K> Default for AddressIndex<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// Claims in the order they were made; nearly always a single one, hence no list for it.
#[derive(Clone, Debug)]
struct Claims<K> {
    last: Claim<K>,
    earlier: Vec<Claim<K>>,
}

#[derive(Clone, Debug)]
struct Claim<K> {
    key: K,
    healthy: bool,
}

impl<K: Clone + Eq> AddressIndex<K> {
    /// Records a claim; repeating it keeps its place, unless it has become healthy: then it is the latest.
    pub(super) fn claim(&mut self, network: &Arc<str>, ip: IpAddr, key: &K, healthy: bool) {
        let ip = canonical(ip);
        let by_ip = match self.0.get_mut(network) {
            Some(by_ip) => by_ip,
            None => self.0.entry(network.clone()).or_default(),
        };
        let claim = Claim {
            key: key.clone(),
            healthy,
        };
        match by_ip.get_mut(&ip) {
            Some(claims) => claims.put(claim),
            None => drop(by_ip.insert(
                ip,
                Claims {
                    last: claim,
                    earlier: Vec::new(),
                },
            )),
        }
    }

    /// Takes a claim back; the next in line then holds the address.
    pub(super) fn release(&mut self, network: &str, ip: IpAddr, key: &K) {
        let ip = canonical(ip);
        let Some(by_ip) = self.0.get_mut(network) else {
            return;
        };
        if by_ip.get_mut(&ip).is_some_and(|claims| claims.take(key)) {
            by_ip.remove(&ip);
        }
        if by_ip.is_empty() {
            self.0.remove(network);
        }
    }

    /// The holder of an address.
    pub(super) fn get(&self, network: &str, ip: IpAddr) -> Option<&K> {
        self.0.get(network)?.get(&canonical(ip)).map(Claims::holder)
    }

    /// How many addresses are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }
}

impl<K: Eq> Claims<K> {
    fn holder(&self) -> &K {
        let from_last = || std::iter::once(&self.last).chain(self.earlier.iter().rev());
        &from_last().find(|c| c.healthy).unwrap_or(&self.last).key
    }

    fn put(&mut self, claim: Claim<K>) {
        let known = self
            .earlier
            .iter_mut()
            .chain([&mut self.last])
            .find(|c| c.key == claim.key);
        match known {
            Some(held) if held.healthy || !claim.healthy => {
                held.healthy = claim.healthy;
                return;
            }
            Some(_) => self.earlier.retain(|c| c.key != claim.key),
            None => {}
        }
        let previous = std::mem::replace(&mut self.last, claim);
        if previous.key != self.last.key {
            self.earlier.push(previous);
        }
    }

    /// Removes the claim of `key`; true if it was the only one.
    fn take(&mut self, key: &K) -> bool {
        if self.last.key != *key {
            self.earlier.retain(|c| c.key != *key);
            return false;
        }
        match self.earlier.pop() {
            Some(next) => {
                self.last = next;
                false
            }
            None => true,
        }
    }
}
