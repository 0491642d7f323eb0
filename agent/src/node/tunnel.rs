//! The tunnel's comings and goings, and the fd store: who holds which duplicates of the listeners when.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use warren_api::node::{Family, ListenerKind, ToAgent, ToTunnel};
use warren_core::workload::Uid;

use super::{Effect, Node, Tunnel};
use crate::kernel::Kernel;
use crate::pods::Stage;

/// How long a tunnel may take to hand its duplicates over.
const RECOVER_LIMIT: Duration = Duration::from_secs(1);

impl<K: Kernel> Node<K> {
    pub(super) fn tunnel_up(&mut self, link: u64, instance: String, cgroup: u64, now: Instant) {
        tracing::info!(instance, "tunnel connected");
        // Before it gets its first pod: to the kernel programs it is a stranger until they know its cgroup.
        self.cgroups(cgroup, self.config.kubelet_cgroup);
        self.tunnel = Tunnel {
            link: Some(link),
            instance,
            ..Tunnel::default()
        };
        for pod in self.pods.values_mut() {
            pod.offered_at = None;
            if pod.stage == Stage::Offered {
                pod.stage = Stage::Preparing;
            }
        }
        if self.pods.values().any(|p| p.recover) {
            self.tunnel.recovering_until = Some(now + RECOVER_LIMIT);
            self.effects.push(Effect::Tell {
                link,
                message: ToTunnel::Recover {},
                fds: Vec::new(),
            });
        }
        self.reconcile_all(now);
        self.tell_synced(now);
    }

    pub(super) fn tunnel_down(&mut self, link: u64, now: Instant) {
        if self.tunnel.link != Some(link) {
            return;
        }
        tracing::warn!(instance = self.tunnel.instance, wait = ?self.options.tunnel_wait, "tunnel gone; its listeners are held");
        self.tunnel = Tunnel {
            gone_since: Some(now),
            ..Tunnel::default()
        };
        for pod in self.pods.values_mut() {
            pod.offered_at = None;
            if pod.stage == Stage::Offered {
                pod.stage = Stage::Preparing;
            }
        }
    }

    pub(super) fn hear(&mut self, link: u64, message: ToAgent, fds: Vec<OwnedFd>, now: Instant) {
        if self.tunnel.link != Some(link) {
            return;
        }
        match message {
            ToAgent::PodReady { uid } => self.ready(&Uid::from(uid.as_str()), now),
            ToAgent::PodFailed { uid, reason } => {
                self.fail(
                    &Uid::from(uid.as_str()),
                    format!("the tunnel refuses it: {reason}"),
                    now,
                );
            }
            ToAgent::Listeners { uid, listeners } => {
                self.recovered(&Uid::from(uid.as_str()), &listeners, fds, now)
            }
            ToAgent::MissedDirect {
                source,
                destination,
            } => {
                self.missed(source.to_canonical(), destination.to_canonical(), now);
            }
            ToAgent::PodRemoved { uid } => {
                tracing::debug!(uid, "the tunnel's last connection of the pod has ended")
            }
            ToAgent::Hello { .. } => tracing::warn!("the tunnel said hello twice"),
        }
    }

    /// The tunnel's duplicates of listeners that an earlier agent made.
    fn recovered(&mut self, uid: &Uid, kinds: &[ListenerKind], fds: Vec<OwnedFd>, now: Instant) {
        let Some(pod) = self
            .pods
            .get_mut(uid)
            .filter(|p| p.recover && p.listeners.is_empty())
        else {
            return;
        };
        let wanted = pod.wanted_listeners();
        let address = |k: &ListenerKind| pod.ip(k.family == Family::V4).map(|ip: IpAddr| (*k, ip));
        let found: Vec<_> = kinds
            .iter()
            .filter_map(address)
            .zip(fds)
            .map(|((k, ip), fd)| (k, ip, fd))
            .collect();
        let complete = wanted
            .iter()
            .all(|w| found.iter().any(|(k, ip, _)| (*k, *ip) == *w));
        pod.recover = false;
        if complete {
            tracing::info!(workload = %uid, "listeners recovered from the tunnel");
            self.store(uid, found);
        }
        self.reconcile(uid, now);
        self.tell_synced(now);
    }

    pub(super) fn tunnel_tick(&mut self, now: Instant) {
        if self.tunnel.recovering_until.is_some_and(|at| at <= now) {
            self.tunnel.recovering_until = None;
            // What the tunnel does not have is lost: new listeners take its place.
            self.pods.values_mut().for_each(|p| p.recover = false);
            self.reconcile_all(now);
        }
        self.tell_synced(now);
        let Some(since) = self.tunnel.gone_since else {
            return;
        };
        if now.duration_since(since) >= self.options.tunnel_wait {
            self.give_up();
        }
    }

    /// The tunnel stays away: clients that wait are reset rather than kept for ever.
    fn give_up(&mut self) {
        let holding: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, p)| !p.listeners.is_empty())
            .map(|(u, _)| u.clone())
            .collect();
        if !holding.is_empty() {
            tracing::warn!(
                pods = holding.len(),
                "the tunnel stays away: waiting connections are reset"
            );
        }
        for uid in holding {
            self.drop_listeners(&uid);
        }
    }

    fn tell_synced(&mut self, _now: Instant) {
        let Some(link) = self.tunnel.link else { return };
        if self.tunnel.synced
            || self.tunnel.recovering_until.is_some() && self.pods.values().any(|p| p.recover)
        {
            return;
        }
        let waiting = |p: &crate::pods::Pod| {
            p.stage == Stage::Enrolled && p.offered_at.is_none() && p.retry_at.is_none()
        };
        if self.pods.values().any(waiting) {
            return;
        }
        self.tunnel.synced = true;
        self.effects.push(Effect::Tell {
            link,
            message: ToTunnel::Synced {},
            fds: Vec::new(),
        });
    }

    pub(super) fn reconcile_all(&mut self, now: Instant) {
        let uids: Vec<_> = self.pods.keys().cloned().collect();
        uids.iter().for_each(|uid| self.reconcile(uid, now));
    }
}
