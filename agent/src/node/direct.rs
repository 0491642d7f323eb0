//! Direct flows: answers to the kernel's questions, and the end of flows that policy no longer allows.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use warren_abi::{
    CONFIG_DIRECT, CONFIG_LOG, DirectConn, PORT_HBONE, PORT_OUTBOUND, PORT_PLAINTEXT,
    VERDICT_DIRECT, VERDICT_TUNNEL, Verdict, VerdictKey,
};
use warren_core::Workload;
use warren_core::direct::check_direct;
use warren_core::policy::{Connection, Decision};

use super::paths::Path;
use super::{Effect, Node};
use crate::kernel::Kernel;
use crate::pods::{Pod, Stage};
use crate::sockdiag::pair;

/// When live flows are looked at again after a change: a connect that was between its decision and the kernel's socket tables
/// is invisible the first time.
const RESCANS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Ports that mean the tunnel.
const RESERVED_PORTS: [u16; 3] = [PORT_OUTBOUND, PORT_PLAINTEXT, PORT_HBONE];

impl<K: Kernel> Node<K> {
    /// Writes the verdict that the kernel asked for. What cannot be decided takes the tunnel, which decides and logs.
    pub(super) fn answer_question(&mut self, question: &VerdictKey, now: Instant) {
        if !self.may_be_direct(question) {
            return self.answer(question, VERDICT_TUNNEL, now);
        }
        match self.paths.state(question) {
            Path::Works => self.answer(question, VERDICT_DIRECT, now),
            Path::Fails => self.answer(question, VERDICT_TUNNEL, now),
            // The kernel's own mark, "asked and not answered", stays until the trial has ended.
            Path::Tried => {}
            Path::Unknown => self.try_path(question, now),
        }
    }

    /// Answers a question, so that the answer holds until it is taken back or the generation changes.
    fn answer(&mut self, question: &VerdictKey, verdict: u32, now: Instant) {
        if !self.answers.note(question, verdict) {
            // An answer that is not remembered could not be taken back: all are, and asked for again.
            self.bump(now);
            self.answers.note(question, verdict);
        }
        self.put_verdict(question, verdict);
    }

    pub(super) fn put_verdict(&mut self, question: &VerdictKey, verdict: u32) {
        let verdict = Verdict {
            generation: self.config.generation,
            verdict,
            reserved: 0,
        };
        let done = self.kernel.put_verdict(question, &verdict);
        self.done(done);
    }

    fn may_be_direct(&mut self, question: &VerdictKey) -> bool {
        if !self.model_complete() || RESERVED_PORTS.contains(&question.port) {
            return false;
        }
        let v4 = question.family == 4;
        let Some((source, from)) = self.enrolled(question.source) else {
            return false;
        };
        let Some((destination, to)) = self.enrolled(question.destination) else {
            return false;
        };
        let (Some(source_ip), Some(destination_ip)) = (source.ip(v4), destination.ip(v4)) else {
            return false;
        };
        if check_direct(&from, &to, false, &self.options.direct).is_err() {
            return false;
        }
        let client = SocketAddr::new(source_ip, 0);
        let decision = self.decide(
            &from,
            &to,
            client,
            SocketAddr::new(destination_ip, question.port),
        );
        self.names.decided(*question, &decision.reason);
        // A policy that only reports wants every connection reported, which is the tunnel's work.
        decision.is_allowed() && decision.audited.is_empty()
    }

    /// The same evaluator as the tunnel's; the identity is the one that the kernel vouches for.
    fn decide(
        &self,
        from: &Workload,
        to: &Workload,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Decision {
        let connection = Connection {
            identity: Some(from.identity()),
            source,
            destination,
        };
        self.mesh.read().decide(&connection, to)
    }

    /// The pod with this number and its workload, if it is in the mesh.
    fn enrolled(&self, number: u32) -> Option<(&Pod, Arc<Workload>)> {
        let uid = self.by_number.get(&number)?;
        let pod = self.pods.get(uid).filter(|p| p.stage == Stage::Enrolled)?;
        Some((pod, self.mesh.read().workload(uid)?.clone()))
    }

    /// Takes answers back: the kernel asks again.
    pub(super) fn take_back(&mut self, questions: &[VerdictKey]) {
        for question in questions {
            let done = self.kernel.remove_verdict(question);
            self.done(done);
        }
    }

    /// The model has changed. Only where a pair of pods may not be direct any more does everything that the kernel was told
    /// become void: a new generation closes the handshakes that are under way, those of other pairs included.
    pub(super) fn reconsider(&mut self, now: Instant) {
        let direct = self.answers.direct();
        if !direct.iter().all(|question| self.may_be_direct(question)) {
            return self.new_generation(now);
        }
        // What took the tunnel may be direct now.
        let tunnelled = self.answers.take_tunnelled();
        self.take_back(&tunnelled);
        self.end_and_look_again(now);
    }

    /// Makes what the kernel was told void, then tells it anew what still holds.
    pub(super) fn new_generation(&mut self, now: Instant) {
        let direct = self.answers.direct();
        self.bump(now);
        self.end_and_look_again(now);
        for question in &direct {
            if self.may_be_direct(question) {
                self.answer_question(question, now);
            }
        }
    }

    fn bump(&mut self, now: Instant) {
        self.config.generation += 1;
        self.generation_since = now;
        self.answers.clear();
        self.write_config();
        let done = self.kernel.clear_flows();
        self.done(done);
    }

    fn end_and_look_again(&mut self, now: Instant) {
        self.end_denied_flows();
        self.rescans
            .extend(RESCANS.iter().map(|after| now + *after));
    }

    /// Ends live direct flows that policy denies now. Those that are merely not direct any more go on.
    pub(super) fn end_denied_flows(&mut self) {
        let live = match self.kernel.direct_conns() {
            Ok(live) => live,
            Err(error) => {
                self.done(Err(error));
                return;
            }
        };
        let denied: Vec<_> = live
            .into_iter()
            .filter(|conn| self.is_denied(conn))
            .collect();
        if denied.is_empty() {
            return;
        }
        let numbers: HashSet<u32> = denied
            .iter()
            .flat_map(|c| [c.source, c.destination])
            .collect();
        let namespaces = numbers
            .iter()
            .filter_map(|n| self.pods.get(self.by_number.get(n)?)?.netns.clone())
            .collect();
        let addresses = |c: &DirectConn| {
            let (client, server): (IpAddr, IpAddr) = (c.flow.client.into(), c.flow.server.into());
            pair((client, c.flow.client_port), (server, c.flow.server_port))
        };
        let pairs: HashSet<_> = denied.iter().map(addresses).collect();
        tracing::info!(
            flows = pairs.len(),
            "ending direct flows that policy denies now"
        );
        self.effects
            .push(Effect::Destroy(namespaces, Arc::new(pairs)));
    }

    fn is_denied(&self, conn: &DirectConn) -> bool {
        // While an agent that started has not heard everything, what an earlier one allowed goes on.
        if !self.model_complete() {
            return false;
        }
        // A pod that left the mesh keeps the connections that it has.
        let (Some((_, from)), Some((_, to))) =
            (self.enrolled(conn.source), self.enrolled(conn.destination))
        else {
            return false;
        };
        let (client, server) = pair(
            (conn.flow.client.into(), conn.flow.client_port),
            (conn.flow.server.into(), conn.flow.server_port),
        );
        self.decide(&from, &to, client, server).ends_connections()
    }

    pub(super) fn switch_direct(&mut self, on: bool, now: Instant) {
        let flags = if on {
            self.config.flags | CONFIG_DIRECT
        } else {
            self.config.flags & !CONFIG_DIRECT
        };
        self.options.direct.off = !on;
        if flags != self.config.flags {
            self.config.flags = flags;
            self.new_generation(now);
        }
    }

    pub(super) fn switch_log(&mut self, on: bool) {
        self.config.flags = if on {
            self.config.flags | CONFIG_LOG
        } else {
            self.config.flags & !CONFIG_LOG
        };
        self.write_config();
    }

    pub(super) fn cgroups(&mut self, tunnel: u64, kubelet: u64) {
        let [current, _] = self.config.tunnel_cgroups;
        // A cgroup that is gone keeps its id here: nobody can have it again, and a tunnel that starts has a new one soon.
        let tunnels = match tunnel {
            0 => self.config.tunnel_cgroups,
            same if same == current => self.config.tunnel_cgroups,
            // The one that is replaced goes on with the connections that it has.
            new => [new, current],
        };
        if (self.config.tunnel_cgroups, self.config.kubelet_cgroup) != (tunnels, kubelet) {
            tracing::info!(?tunnels, kubelet, "cgroup ids");
            (self.config.tunnel_cgroups, self.config.kubelet_cgroup) = (tunnels, kubelet);
            self.write_config();
        }
    }
}
