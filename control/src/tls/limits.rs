//! How many connections there may be: in all, and from one address, so that one peer cannot take the place of the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use warren_core::address::canonical;

/// Connections of xDS and CA in all.
const TOTAL: usize = 20_000;
/// Those from one address; a node has a handful.
const FROM_ONE: usize = 256;

/// Counts connections. Clones share.
#[derive(Clone, Debug)]
pub struct Limits {
    total: usize,
    from_one: usize,
    counts: Arc<Mutex<Counts>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(TOTAL, FROM_ONE)
    }
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A counted connection; dropping it makes room.
#[derive(Debug)]
pub struct Slot {
    limits: Limits,
    address: IpAddr,
}

impl Limits {
    /// At most so many in all, and from one address.
    pub fn new(total: usize, from_one: usize) -> Self {
        Self {
            total,
            from_one,
            counts: Arc::default(),
        }
    }

    /// Counts a connection, unless there are too many.
    pub fn admit(&self, address: IpAddr) -> Option<Slot> {
        let address = canonical(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let from_one = counts.by_address.get(&address).copied().unwrap_or(0);
        if counts.total >= self.total || from_one >= self.from_one {
            return None;
        }
        counts.total += 1;
        counts.by_address.insert(address, from_one + 1);
        Some(Slot {
            limits: self.clone(),
            address,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let counts = &self.limits.counts;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(n) = counts.by_address.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all() {
        let limits = Limits::default();
        let one: IpAddr = "10.0.0.1".parse().expect("address");
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("address");
        let mut slots: Vec<Slot> = (0..FROM_ONE).filter_map(|_| limits.admit(one)).collect();
        assert_eq!(slots.len(), FROM_ONE);
        assert!(limits.admit(mapped).is_none());
        assert!(limits.admit("10.0.0.2".parse().expect("address")).is_some());
        slots.pop();
        assert!(limits.admit(mapped).is_some());
    }
}
