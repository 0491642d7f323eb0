//! Pairs of pods whose direct flow the kernel did not recognise, on their way to the agent.

use std::collections::HashSet;
use std::net::IpAddr;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Pairs that may wait; further ones come up again with their next connection.
const LIMIT: usize = 1024;

/// Pairs that wait to be told, each once.
#[derive(Debug, Default)]
pub struct Missed {
    pairs: Mutex<HashSet<(IpAddr, IpAddr)>>,
    wake: Notify,
}

impl Missed {
    /// Notes that plaintext of an enrolled pod reached another one of its node.
    pub fn note(&self, source: IpAddr, destination: IpAddr) {
        let mut pairs = self.pairs.lock();
        if pairs.len() < LIMIT && pairs.insert((source, destination)) {
            self.wake.notify_one();
        }
    }

    /// Waits until there is something to tell. May be dropped and called again.
    pub async fn some(&self) {
        loop {
            let woken = self.wake.notified();
            if !self.pairs.lock().is_empty() {
                return;
            }
            woken.await;
        }
    }

    /// Takes what is there.
    pub fn take(&self) -> HashSet<(IpAddr, IpAddr)> {
        std::mem::take(&mut self.pairs.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pair_is_told_once_and_may_come_again() {
        let missed = Missed::default();
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        missed.note(a, b);
        missed.note(a, b);
        missed.some().await;
        assert_eq!(missed.take(), HashSet::from([(a, b)]));
        assert!(missed.take().is_empty());
        missed.note(a, b);
        missed.some().await;
        assert_eq!(missed.take().len(), 1);
    }
}
