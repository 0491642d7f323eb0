//! What becomes of a pod of which the controller says nothing: it is away, and the node may even have restarted without it.
//!
//! At ADD a pod's name is known and nothing else: a container runtime lists a sandbox only after its network is there. So
//!
//! ```text
//! namespace remembered? --no---> refused in the end; the runtime tries again
//!                       --yes--> captured at once, before anything runs in it (nobody has to be there for that)
//!                                  `--ADD ends, sandbox listed--> own label, else its namespace: stays in, or is let go
//! ```
//!
//! The controller's word, when it comes, goes before all of this.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use warren_api::cri::PodName;
use warren_core::workload::Uid;

use super::{Effect, Node};
use crate::cni::asked;
use crate::kernel::Kernel;

/// How long the controller may say nothing of a pod before something is presumed.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// First pause before the container runtime is asked again, doubled each time.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often it is doubled.
const DOUBLED: u32 = 6;

impl<K: Kernel> Node<K> {
    /// Presumes something of a pod of which the controller was silent for long enough.
    pub(super) fn hear_silence(&mut self, uid: &Uid, now: Instant) {
        let known = self.mesh.read().workload(uid).is_some();
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        if pod.silent_at.take_if(|at| *at <= now).is_none() || known {
            return;
        }
        if pod.labelled.is_some() {
            pod.presumed = pod.labelled;
            return;
        }
        if self.options.exempt.contains(&pod.record.namespace) {
            return;
        }
        let remembered = self.memory.get(&pod.record.namespace);
        let runtime = self.options.runtime;
        // Without the runtime's word, a pod of its own label would stay out: one that nobody can ask about is refused instead.
        let hold = remembered == Some(true) || remembered == Some(false) && runtime;
        if hold && !pod.waiters.is_empty() && pod.presumed.is_none() {
            pod.presumed = Some(true);
            pod.record.in_doubt = runtime;
            tracing::warn!(
                workload = %uid,
                "the controller says nothing of this pod: it starts closed, until its labels or the controller say otherwise"
            );
        }
        if runtime {
            self.ask_for_labels(uid);
        }
    }

    fn ask_for_labels(&mut self, uid: &Uid) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        pod.asked += 1;
        let name = PodName {
            namespace: pod.record.namespace.clone(),
            name: pod.record.name.clone(),
            uid: pod.record.uid.clone(),
        };
        self.effects.push(Effect::Ask(pod.record.number, name));
    }

    /// What the container runtime says of a pod's labels.
    pub(super) fn labels(
        &mut self,
        number: u32,
        answer: Result<Option<BTreeMap<String, String>>, String>,
        now: Instant,
    ) {
        let Some(uid) = self.by_number.get(&number).cloned() else {
            return;
        };
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        match answer {
            Ok(Some(labels)) => {
                let in_mesh = asked(&labels).or(self.memory.get(&pod.record.namespace));
                pod.labelled = asked(&labels);
                pod.presumed = in_mesh.or(pod.presumed);
                pod.record.in_doubt = false;
                tracing::info!(workload = %uid, in_mesh = ?pod.presumed, "presumed by its labels and its namespace");
                self.save();
                self.reconcile(&uid, now);
            }
            other => {
                let pause = ASK_AGAIN * (1 << pod.asked.min(DOUBLED));
                pod.silent_at = Some(now + pause);
                if let (Err(error), DOUBLED) = (other, pod.asked) {
                    tracing::warn!(workload = %uid, "its labels are not known, it stays as it is: {error}");
                }
            }
        }
    }
}
