//! Source ports of deliveries.
//!
//! A delivered connection ends with a socket in TIME_WAIT on the tunnel's side wherever the client ends first, inside the
//! server's pod. The kernel chooses no such port again for a minute, so a pod that is called often by many clients would
//! run out of ports. An explicit bind may take over a port in TIME_WAIT (RFC 6191), so busy pods get theirs from a small
//! band in turn.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// More deliveries than this in a minute, and ports are taken in turn. The usual range has 28,000.
const MANY: u32 = 6000;
const MINUTE: Duration = Duration::from_secs(60);
/// The band: the upper end of the usual range for connections, where applications seldom listen.
const FIRST: u16 = 56_900;
const COUNT: u16 = 4000;

/// Counts a pod's deliveries and hands out ports where they are many.
#[derive(Debug, Default)]
pub struct DeliveryPorts(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    now: u32,
    before: u32,
    turn: u16,
}

impl DeliveryPorts {
    /// Counts a delivery. Some port to bind to, where the kernel's own choice would use too many.
    pub fn next(&self) -> Option<u16> {
        self.next_at(Instant::now())
    }

    fn next_at(&self, now: Instant) -> Option<u16> {
        let mut w = self.0.lock();
        let age = w.began.map_or(MINUTE * 2, |b| now.duration_since(b));
        if age >= MINUTE {
            w.before = if age < MINUTE * 2 { w.now } else { 0 };
            w.now = 0;
            w.began = Some(now);
        }
        w.now = w.now.saturating_add(1);
        if w.now.max(w.before) < MANY {
            return None;
        }
        w.turn = (w.turn + 1) % COUNT;
        Some(FIRST + w.turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_busy_pods_get_ports_and_quiet_ones_lose_them() {
        let (ports, now) = (DeliveryPorts::default(), Instant::now());
        let given: Vec<_> = (0..MANY + 5000)
            .filter_map(|_| ports.next_at(now))
            .collect();
        assert_eq!(given.len(), 5001);
        assert!(given.iter().all(|p| (FIRST..FIRST + COUNT).contains(p)));
        assert_eq!(given[0], given[usize::from(COUNT)], "in turn");
        assert!(
            ports.next_at(now + MINUTE).is_some(),
            "the last minute counts"
        );
        assert!(ports.next_at(now + MINUTE * 2).is_none());
        assert!(ports.next_at(now + MINUTE * 9).is_none());
    }
}
