//! Places for TLS handshakes with peers: bounded in all, and for each address, so that one that never finishes its
//! handshakes cannot keep others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Handshakes under way at once.
const ALL: usize = 4096;
/// Of one address. A tunnel makes one at a time for a pair of pods and a lane.
const OF_ONE: usize = 128;

/// Handshakes under way.
#[derive(Clone, Debug, Default)]
pub struct Handshakes(Arc<Mutex<Count>>);

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One handshake under way.
#[derive(Debug)]
pub struct Place {
    handshakes: Handshakes,
    address: IpAddr,
}

impl Handshakes {
    /// A place for a handshake with `address`, if there is one.
    pub fn begin(&self, address: IpAddr) -> Option<Place> {
        let mut count = self.0.lock();
        let of_one = count.by_address.get(&address).copied().unwrap_or_default();
        if count.all >= ALL || of_one >= OF_ONE {
            return None;
        }
        count.all += 1;
        count.by_address.insert(address, of_one + 1);
        drop(count);
        Some(Place {
            handshakes: self.clone(),
            address,
        })
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.0.lock().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.handshakes.0.lock();
        count.all -= 1;
        if let Some(of_one) = count.by_address.get_mut(&self.address) {
            *of_one -= 1;
            if *of_one == 0 {
                count.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_places() {
        let h = Handshakes::default();
        let (greedy, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let taken: Vec<_> = (0..OF_ONE * 2).filter_map(|_| h.begin(greedy)).collect();
        assert_eq!(taken.len(), OF_ONE);
        assert!(h.begin(other).is_some());
        drop(taken);
        assert!(h.begin(greedy).is_some());
        assert_eq!((h.under_way(), h.0.lock().by_address.len()), (0, 0));
    }
}
