//! Pods that come and go.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use warren_core::workload::Uid;

use super::presume::SILENCE;
use super::{Effect, Node};
use crate::cni::{Answer, Op, Request};
use crate::kernel::Kernel;
use crate::netns::Netns;
use crate::pods::{Pod, Record, Stage, Waiter};

impl<K: Kernel> Node<K> {
    pub(super) fn cni(&mut self, request: Request, reply: oneshot::Sender<Answer>, now: Instant) {
        let uid = self.uid_of(&request);
        match request.op {
            Op::Add => self.add(uid, request, reply, now),
            Op::Del => {
                self.del(&uid, &request);
                // An asker that went away is not told; the same below.
                let _ = reply.send(Answer::done(false));
            }
            Op::Check => drop(reply.send(self.check(&uid, &request))),
        }
    }

    /// A running pod was found. One that is known already came by CNI, which knows better; an earlier one of the same name is
    /// forgotten when its network namespace is gone, and the next scan finds this one again.
    pub(super) fn found(&mut self, request: Request, now: Instant) {
        let uid = self.uid_of(&request);
        if request.problem().is_none() && !self.pods.contains_key(&uid) {
            tracing::info!(workload = %uid, netns = %request.netns.display(), "found a pod that the CNI did not tell of");
            self.begin(uid, request, None, now);
        }
    }

    fn uid_of(&self, request: &Request) -> Uid {
        let (cluster, namespace, name) = (&self.options.cluster, &request.namespace, &request.name);
        Uid::from(format!("{cluster}//Pod/{namespace}/{name}").as_str())
    }

    fn add(&mut self, uid: Uid, request: Request, reply: oneshot::Sender<Answer>, now: Instant) {
        let waiter = Waiter {
            deadline: now + self.options.add_wait,
            reply,
        };
        // A runtime repeats an ADD that failed; the pod may have come further meanwhile.
        if let Some(pod) = self
            .pods
            .get_mut(&uid)
            .filter(|p| p.record.is(&request) && p.stage != Stage::Opening)
        {
            pod.retry_at = None;
            pod.last_error = None;
            pod.waiters.push(waiter);
            self.reconcile(&uid, now);
            return;
        }
        self.forget(&uid);
        self.begin(uid, request, Some(waiter), now);
    }

    /// Remembers a pod and opens its network namespace.
    fn begin(&mut self, uid: Uid, request: Request, waiter: Option<Waiter>, now: Instant) {
        let labelled = request.labelled();
        let number = self.next_number;
        self.next_number += 1;
        let mut addresses: Vec<_> = request
            .addresses
            .iter()
            .map(|ip| ip.to_canonical())
            .collect();
        addresses.dedup();
        let mut pod = Pod::new(Record {
            workload: uid.0.to_string(),
            number,
            namespace: request.namespace,
            name: request.name,
            uid: request.uid,
            netns: request.netns.clone(),
            cookie: 0,
            addresses,
            enrolled: false,
            in_doubt: false,
            former_port_reuse: None,
        });
        pod.labelled = labelled;
        pod.silent_at = Some(now + SILENCE);
        pod.waiters.extend(waiter);
        self.by_number.insert(number, uid.clone());
        self.pods.insert(uid, pod);
        self.effects.push(Effect::Open(number, request.netns));
    }

    fn del(&mut self, uid: &Uid, request: &Request) {
        // A late DEL of an earlier pod must not take its successor of the same name away.
        let other =
            |mine: &str, asked: &str| !mine.is_empty() && !asked.is_empty() && mine != asked;
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        if other(&pod.record.uid, &request.uid) {
            return;
        }
        if pod.record.netns != request.netns {
            // Nor one of an earlier sandbox of the same pod, whose network namespace may be gone and is not named then.
            let path = pod.record.netns.clone();
            if let Some(netns) = pod.netns.clone() {
                let asked = Some(request.netns.clone()).filter(|p| !p.as_os_str().is_empty());
                let number = pod.record.number;
                self.effects
                    .push(Effect::LookAtDeleted(number, asked, path, netns));
            }
            return;
        }
        self.forget(uid);
        self.save();
    }

    fn check(&self, uid: &Uid, request: &Request) -> Answer {
        let Some(pod) = self.pods.get(uid) else {
            return Answer::failed("the agent does not know this pod; it has to be added again");
        };
        if !request.addresses.is_empty()
            && !request
                .addresses
                .iter()
                .all(|a| pod.record.addresses.contains(a))
        {
            return Answer::failed(format!(
                "the pod was added with the addresses {:?}",
                pod.record.addresses
            ));
        }
        match (self.wanted(uid), pod.stage) {
            (Some(true), Stage::Enrolled) => Answer::done(true),
            (Some(true), _) => {
                let why = pod.last_error.as_deref().unwrap_or("it is being let in");
                Answer::failed(format!("the pod is not in the mesh: {why}"))
            }
            (_, stage) => Answer::done(stage == Stage::Enrolled),
        }
    }

    pub(super) fn opened(&mut self, number: u32, result: io::Result<Netns>, now: Instant) {
        let Some(uid) = self.by_number.get(&number).cloned() else {
            return;
        };
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        match result {
            Ok(netns) => {
                pod.record.cookie = netns.cookie;
                pod.netns = Some(Arc::new(netns));
                pod.stage = Stage::Idle;
                self.save();
                self.reconcile(&uid, now);
            }
            Err(error) => {
                let path = pod.record.netns.display().to_string();
                let why = format!("network namespace {path}: {error}; {}", missing(&error));
                tracing::warn!(workload = %uid, "{why}");
                for waiter in pod.waiters.drain(..) {
                    let _ = waiter.reply.send(Answer::failed(why.clone()));
                }
                self.forget(&uid);
            }
        }
    }

    /// Pods whose network namespace is not at its path any more have gone without a DEL.
    pub(super) fn pods_gone(&mut self, numbers: &[u32]) {
        let uids: Vec<_> = numbers
            .iter()
            .filter_map(|n| self.by_number.get(n).cloned())
            .collect();
        for uid in &uids {
            tracing::info!(workload = %uid, "the pod's network namespace is gone: the pod is forgotten");
            self.forget(uid);
        }
        self.save();
    }

    /// Takes a pod out of the mesh and forgets it.
    pub(super) fn forget(&mut self, uid: &Uid) {
        if !self.pods.contains_key(uid) {
            return;
        }
        self.withdraw(uid);
        if let Some(pod) = self.pods.remove(uid) {
            self.by_number.remove(&pod.record.number);
            self.paths.forget(pod.record.number);
            self.answers.forget(pod.record.number);
            self.names.retire(pod.record.number);
        }
    }
}

/// What to look at when a network namespace cannot be opened.
fn missing(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(libc::EINVAL) {
        "what is there is no network namespace: the agent has to see the host's later mounts (mountPropagation HostToContainer)"
    } else {
        "does the path exist in the agent's mount namespace?"
    }
}

impl Record {
    /// Whether a request speaks of this very pod.
    fn is(&self, request: &Request) -> bool {
        self.netns == request.netns
            && self.uid == request.uid
            && self.addresses.iter().eq(request.addresses.iter())
    }
}
