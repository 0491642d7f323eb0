//! Answers to those who wait for an ADD to end. Every wait has a limit, and every refusal says what is missing.

use std::time::Instant;

use warren_core::workload::Uid;

use super::Node;
use crate::cni::Answer;
use crate::kernel::Kernel;
use crate::pods::{Pod, Stage};

impl<K: Kernel> Node<K> {
    pub(super) fn answer_waiters(&mut self, uid: &Uid, now: Instant) {
        let wanted = self.wanted(uid);
        let namespace_exempt = |pod: &Pod| self.options.exempt.contains(&pod.record.namespace);
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        if pod.waiters.is_empty() {
            return;
        }
        let (stage, error, exempt) = (pod.stage, pod.last_error.clone(), namespace_exempt(pod));
        let (labelled, silent) = (pod.labelled, pod.silent_at.is_none());
        let tunnel = self.tunnel.link.is_some();
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        for waiter in std::mem::take(&mut pod.waiters) {
            let late = waiter.deadline <= now;
            let answer = match (wanted, stage) {
                (Some(true), Stage::Enrolled) => Answer::done(true),
                (Some(false), Stage::Idle | Stage::Leaving) => Answer::done(false),
                (None, Stage::Idle | Stage::Leaving) if labelled == Some(false) => {
                    Answer::done(false)
                }
                (None, Stage::Enrolled) => Answer::done(true),
                (None, _) if silent && exempt => Answer::done(false),
                (None, _) if late => Answer::failed(
                    "the controller does not know this pod yet (is warren-control running?), and nothing is remembered of its namespace",
                ),
                (Some(true), Stage::Idle) if error.is_some() => {
                    Answer::failed(error.clone().unwrap_or_default())
                }
                _ if late && exempt => Answer::done(false),
                _ if late && !tunnel => Answer::failed(
                    "no tunnel is connected to the agent (is warren-ztunnel running?)",
                ),
                _ if late => Answer::failed("the pod could not be let into the mesh in time"),
                _ => {
                    pod.waiters.push(waiter);
                    continue;
                }
            };
            // Nobody is told who went away.
            let _ = waiter.reply.send(answer);
        }
    }
}
