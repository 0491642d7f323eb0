//! Letting pods in and out. In: listeners, the tunnel's word, probe ports, lookup program, then the pod's entry, which starts
//! capture. Out: the reverse, with a farewell between. Connections that a pod already has go on either way.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use warren_abi::{LocalWorkload, POD_NO_DIRECT};
use warren_api::node::ToTunnel;
use warren_core::workload::Uid;

use super::message::NewListeners;
use super::{Effect, Node};
use crate::kernel::{Done, Kernel};
use crate::pods::{Listener, Pod, Stage, listener_key};

/// How long the tunnel may take to say that it serves a pod.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// How often the network namespaces are looked at: those of pods that go without a DEL must not be kept alive.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before a pod that could not be let in is tried again.
const RETRY: Duration = Duration::from_secs(2);

impl<K: Kernel> Node<K> {
    /// Whether the controller wants a pod in the mesh; while it does not know the pod, what is presumed, if anything is.
    pub(super) fn wanted(&self, uid: &Uid) -> Option<bool> {
        let mesh = self.mesh.read();
        match mesh.workload(uid) {
            Some(known) => Some(known.is_enrolled() && !known.host_network),
            None => self.pods.get(uid)?.presumed,
        }
    }

    /// Takes the next step for one pod, and answers those who wait for it.
    pub(super) fn reconcile(&mut self, uid: &Uid, now: Instant) {
        let wanted = self.wanted(uid);
        let link = self.tunnel.link;
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let may_try = pod.retry_at.is_none_or(|at| at <= now);
        match (pod.stage, wanted) {
            (Stage::Opening, _) | (Stage::Idle, None | Some(false)) => {}
            (Stage::Preparing | Stage::Offered, Some(false)) => self.withdraw(uid),
            (Stage::Enrolled, Some(false)) => self.let_go(uid, now),
            (Stage::Leaving, Some(true)) if may_try => return self.come_back(uid, now),
            (Stage::Leaving, _) if pod.served_until.is_none_or(|at| at <= now) => {
                self.withdraw(uid)
            }
            (Stage::Idle, Some(true)) if may_try => {
                pod.stage = Stage::Preparing;
                self.prepare(uid, now);
            }
            (Stage::Preparing, _) if pod.is_held() && !pod.listeners.is_empty() => {
                return self.enter(uid, now);
            }
            (Stage::Preparing, _) if link.is_some() => self.prepare(uid, now),
            (Stage::Enrolled, _) => {
                self.refresh(uid);
                if link.is_some() {
                    self.prepare(uid, now);
                }
            }
            _ => {}
        }
        self.answer_waiters(uid, now);
    }

    /// Makes listeners where there are none, else offers the pod to the tunnel.
    pub(super) fn prepare(&mut self, uid: &Uid, now: Instant) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        if pod.listening || pod.recover {
            return;
        }
        let Some(netns) = pod.netns.clone() else {
            return;
        };
        if pod.listeners.is_empty() {
            pod.listening = true;
            self.effects.push(Effect::Listen(
                pod.record.number,
                netns,
                pod.wanted_listeners(),
            ));
        } else if pod.offered_at.is_none() {
            self.offer(uid, now);
        }
    }

    pub(super) fn listening(
        &mut self,
        number: u32,
        result: io::Result<NewListeners>,
        now: Instant,
    ) {
        let Some(uid) = self.by_number.get(&number).cloned() else {
            return;
        };
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        pod.listening = false;
        if !matches!(pod.stage, Stage::Preparing | Stage::Enrolled) {
            return;
        }
        match result {
            Ok(made) => {
                self.store(&uid, made);
                self.reconcile(&uid, now);
            }
            Err(error) => self.fail(
                &uid,
                format!("listeners in the pod's network namespace: {error}"),
                now,
            ),
        }
    }

    /// Puts listeners into the fd store and the kernel.
    pub(super) fn store(&mut self, uid: &Uid, made: NewListeners) -> bool {
        let mut all = true;
        for (kind, ip, fd) in made {
            let listener = Listener {
                kind,
                key: listener_key(kind, ip),
                fd: Arc::new(fd),
            };
            let put = self
                .kernel
                .put_listener(&listener.key, std::os::fd::AsFd::as_fd(&*listener.fd));
            all &= self.done(put);
            if let Some(pod) = self.pods.get_mut(uid) {
                pod.listeners.push(listener);
            }
        }
        all
    }

    /// Tells the tunnel of a pod that has listeners.
    pub(super) fn offer(&mut self, uid: &Uid, now: Instant) {
        let Some(link) = self.tunnel.link else { return };
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let Some(netns) = pod.netns.clone() else {
            return;
        };
        if pod.stage == Stage::Preparing {
            pod.stage = Stage::Offered;
        }
        pod.offered_at = Some(now);
        let message = ToTunnel::AddPod {
            uid: uid.0.to_string(),
            netns_cookie: pod.record.cookie,
            addresses: pod.record.addresses.clone(),
            listeners: pod.listeners.iter().map(|l| l.kind).collect(),
        };
        let mut fds: Vec<Arc<dyn std::os::fd::AsFd + Send + Sync>> = vec![netns];
        fds.extend(
            pod.listeners
                .iter()
                .map(|l| l.fd.clone() as Arc<dyn std::os::fd::AsFd + Send + Sync>),
        );
        self.effects.push(Effect::Tell { link, message, fds });
    }

    /// The tunnel serves a pod: capture starts.
    pub(super) fn ready(&mut self, uid: &Uid, now: Instant) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        pod.last_error = None;
        if pod.stage == Stage::Offered {
            self.enter(uid, now);
        }
    }

    /// Captures a pod that has listeners.
    pub(super) fn enter(&mut self, uid: &Uid, now: Instant) {
        if let Err(error) = self.capture(uid) {
            self.fail(uid, error.to_string(), now);
            return;
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.stage = Stage::Enrolled;
            pod.record.enrolled = true;
            tracing::info!(workload = %uid, addresses = ?pod.record.addresses, "pod enrolled");
        }
        self.save();
        self.reconcile(uid, now);
    }

    fn capture(&mut self, uid: &Uid) -> Done {
        let Some(netns) = self.pods.get(uid).and_then(|p| p.netns.clone()) else {
            return Ok(());
        };
        self.sync_probe_ports(uid)?;
        self.reuse_ports(uid);
        self.kernel
            .attach_lookup(netns.cookie, std::os::fd::AsFd::as_fd(&*netns))?;
        self.put_entries(uid)
    }

    /// Writes the pod's own entries.
    pub(super) fn put_entries(&mut self, uid: &Uid) -> Done {
        let workload = self.mesh.read().workload(uid).cloned();
        let Some(pod) = self.pods.get(uid) else {
            return Ok(());
        };
        let number = pod.record.number;
        let ip = |v4| pod.ip(v4).map(warren_abi::Ip::from).unwrap_or_default();
        let no_direct = workload.as_ref().is_some_and(|w| w.direct_flows_off);
        let entry = warren_abi::Pod {
            ip4: ip(true),
            ip6: ip(false),
            workload: number,
            flags: if no_direct { POD_NO_DIRECT } else { 0 },
        };
        if let Some(workload) = workload {
            self.names.set(number, workload);
        }
        if pod.entry == Some(entry) {
            return Ok(());
        }
        self.kernel.put_pod(pod.record.cookie, &entry)?;
        for ip in &pod.record.addresses {
            self.kernel.put_local(
                *ip,
                &LocalWorkload {
                    workload: number,
                    flags: 0,
                },
            )?;
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.entry = Some(entry);
        }
        Ok(())
    }

    /// Brings the kernel's entries of an enrolled pod up to date.
    fn refresh(&mut self, uid: &Uid) {
        let done = self
            .sync_probe_ports(uid)
            .and_then(|()| self.put_entries(uid));
        self.done(done);
    }

    fn sync_probe_ports(&mut self, uid: &Uid) -> Done {
        // What is not known must not close probes that were open.
        let Some(workload) = self.mesh.read().workload(uid).cloned() else {
            return Ok(());
        };
        let Some(pod) = self.pods.get_mut(uid) else {
            return Ok(());
        };
        let wanted = workload.probe_ports.iter().copied().collect();
        let old = std::mem::replace(&mut pod.probe_ports, wanted);
        for ip in &pod.record.addresses {
            for port in pod.probe_ports.difference(&old) {
                self.kernel.put_probe_port(*ip, *port)?;
            }
            for port in old.difference(&pod.probe_ports) {
                self.kernel.remove_probe_port(*ip, *port)?;
            }
        }
        Ok(())
    }

    /// A pod could not be let in. One that is in stays in: closed, until it works again.
    pub(super) fn fail(&mut self, uid: &Uid, why: String, now: Instant) {
        tracing::warn!(workload = %uid, "pod cannot be enrolled: {why}");
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let enrolled = pod.stage == Stage::Enrolled;
        if !enrolled {
            self.withdraw(uid);
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.last_error = Some(why);
            pod.offered_at = None;
            pod.retry_at = Some(now + RETRY);
        }
        self.answer_waiters(uid, now);
    }

    /// Takes a pod out of the mesh; it is remembered.
    pub(super) fn withdraw(&mut self, uid: &Uid) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let was = std::mem::replace(
            &mut pod.stage,
            if pod.netns.is_some() {
                Stage::Idle
            } else {
                Stage::Opening
            },
        );
        let (cookie, enrolled) = (pod.record.cookie, std::mem::take(&mut pod.record.enrolled));
        let (told, recover) = (
            pod.offered_at.take().is_some(),
            std::mem::take(&mut pod.recover),
        );
        pod.entry = None;
        pod.served_until = None;
        let ports: Vec<u16> = std::mem::take(&mut pod.probe_ports).into_iter().collect();
        let addresses = pod.record.addresses.clone();
        if was == Stage::Enrolled || enrolled || recover {
            let done = self.kernel.remove_pod(cookie);
            self.done(done);
            tracing::info!(workload = %uid, "pod left the mesh");
        }
        for ip in addresses.iter().filter(|_| was != Stage::Idle) {
            if !self.is_held(*ip, uid) {
                self.remove_address(*ip, &ports);
            }
        }
        if cookie != 0 && was != Stage::Idle {
            let done = self.kernel.detach_lookup(cookie);
            self.done(done);
        }
        if let (Some(link), true) = (self.tunnel.link, told) {
            let message = ToTunnel::RemovePod {
                uid: uid.0.to_string(),
            };
            self.effects.push(Effect::Tell {
                link,
                message,
                fds: Vec::new(),
            });
        }
        self.drop_listeners(uid);
        self.restore_ports(uid);
        self.save();
    }

    /// Whether another pod has the address by now: the entries are that one's then.
    fn is_held(&self, ip: IpAddr, former: &Uid) -> bool {
        let mut others = self.pods.iter().filter(|(uid, _)| *uid != former);
        others.any(|(_, p)| p.stage != Stage::Idle && p.record.addresses.contains(&ip))
    }

    fn remove_address(&mut self, ip: IpAddr, ports: &[u16]) {
        let done = self.kernel.remove_local(ip);
        self.done(done);
        for port in ports {
            let done = self.kernel.remove_probe_port(ip, *port);
            self.done(done);
        }
    }

    /// Gives the fd store's entries of a pod up.
    pub(super) fn drop_listeners(&mut self, uid: &Uid) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        for listener in std::mem::take(&mut pod.listeners) {
            let taken = |p: &Pod| p.listeners.iter().any(|l| l.key == listener.key);
            if !self.pods.values().any(taken) {
                let done = self.kernel.remove_listener(&listener.key);
                self.done(done);
            }
        }
    }

    pub(super) fn pods_tick(&mut self, now: Instant) {
        if now.duration_since(self.looked_at) >= LOOK {
            self.looked_at = now;
            let open = |p: &Pod| Some((p.record.number, p.record.netns.clone(), p.netns.clone()?));
            let all: Vec<_> = self.pods.values().filter_map(open).collect();
            if !all.is_empty() {
                self.effects.push(Effect::LookAt(all));
            }
        }
        let uids: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, p)| needs_tick(p, now))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in uids {
            let late = self
                .pods
                .get(&uid)
                .filter(|p| p.stage == Stage::Offered)
                .and_then(|p| p.offered_at);
            if late.is_some_and(|at| now.duration_since(at) >= READY_LIMIT) {
                self.fail(
                    &uid,
                    format!("the tunnel did not say within {READY_LIMIT:?} that it serves the pod"),
                    now,
                );
            }
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.retry_at = pod.retry_at.filter(|at| *at > now);
            }
            self.hear_silence(&uid, now);
            self.reconcile(&uid, now);
        }
    }
}

fn needs_tick(pod: &Pod, now: Instant) -> bool {
    !pod.waiters.is_empty()
        || pod.silent_at.is_some_and(|at| at <= now)
        || pod.stage == Stage::Offered
        || pod.served_until.is_some_and(|at| at <= now)
        || pod.retry_at.is_some_and(|at| at <= now)
}
