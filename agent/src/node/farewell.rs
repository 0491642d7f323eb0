//! The first seconds of a pod that was let go. Its peers hear of it at different times: what they sent meanwhile, and what the pod itself
//! had captured, would find nobody. So capture ends at once, while the lookup program, the listeners and the tunnel stay for a moment.

use std::time::{Duration, Instant};

use warren_core::workload::Uid;

use super::Node;
use crate::kernel::Kernel;
use crate::pods::Stage;

/// How long: the controller's word reaches a node well within it.
const FAREWELL: Duration = Duration::from_secs(3);

impl<K: Kernel> Node<K> {
    /// Ends capture. What is on its way is still served for a moment; [`Node::withdraw`] does the rest.
    pub(super) fn let_go(&mut self, uid: &Uid, now: Instant) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        if pod.listeners.is_empty() || pod.offered_at.is_none() {
            // Nobody serves it now.
            return self.withdraw(uid);
        }
        pod.stage = Stage::Leaving;
        pod.served_until = Some(now + FAREWELL);
        pod.record.enrolled = false;
        pod.entry = None;
        let (cookie, addresses) = (pod.record.cookie, pod.record.addresses.clone());
        let done = self.kernel.remove_pod(cookie);
        self.done(done);
        for ip in addresses {
            let done = self.kernel.remove_local(ip);
            self.done(done);
        }
        self.restore_ports(uid);
        tracing::info!(workload = %uid, "pod left the mesh");
        self.save();
    }

    /// Wanted again before it was gone.
    pub(super) fn come_back(&mut self, uid: &Uid, now: Instant) {
        let served = self
            .pods
            .get(uid)
            .is_some_and(|p| p.offered_at.is_some() && !p.listeners.is_empty());
        if served && self.tunnel.link.is_some() {
            if let Some(pod) = self.pods.get_mut(uid) {
                pod.served_until = None;
                // The tunnel is told once more, so that it knows whose plaintext may still be on its way.
                pod.offered_at = None;
            }
            return self.enter(uid, now);
        }
        self.withdraw(uid);
        self.reconcile(uid, now);
    }
}
