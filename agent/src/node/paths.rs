//! Whether a direct flow between two pods arrives as it was sent. Something on the node (masquerade, a rewriting CNI) may change
//! its addresses, and then the destination does not recognise it. So before the first verdict for a pair of pods a connection of
//! the agent's own goes the whole way: verdict, authorisation, lookup.
//!
//! Plaintext between two pods that the kernel did not authorise is only a hint that the path has changed since. It may as well be
//! a handshake that a new generation overtook, a packet that a pod made itself, or the tunnel's own: so it starts a trial.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use warren_abi::{VERDICT_DIRECT, VerdictKey};

use super::{Effect, Node};
use crate::kernel::Kernel;
use crate::pods::Stage;

/// How long a pair that failed takes the tunnel before it is tried again: not long, since the trial uses no application's connection.
const AGAIN: Duration = Duration::from_secs(30);
/// How long after a change of generation handshakes of the one before may still arrive.
const SETTLED: Duration = Duration::from_secs(2);
/// Most pairs remembered.
const MAX_PAIRS: usize = 65_536;

/// Source, destination, family.
pub type Pair = (u32, u32, u16);

/// What is known of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Nothing yet.
    Unknown,
    /// A trial is under way.
    Tried,
    /// Flows arrive as they were sent.
    Works,
    /// They do not.
    Fails,
}

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Source, destination and family of the question; the port is the trial's own once it listens.
    pub question: VerdictKey,
    /// The source's address.
    pub source: IpAddr,
    /// The destination's address and the trial's port.
    pub destination: SocketAddr,
    /// The generation that its port was allowed in.
    pub generation: u64,
}

/// All pairs that were tried.
#[derive(Debug, Default)]
pub struct Paths {
    pairs: HashMap<Pair, Path>,
    /// Questions that wait for a trial's end.
    waiting: HashMap<Pair, Vec<VerdictKey>>,
    /// Pairs whose path was in doubt although trials go well, and since when.
    doubted: HashMap<Pair, Instant>,
    /// Pairs that failed, and when they may be tried again; in order.
    again: VecDeque<(Instant, Pair)>,
}

impl Paths {
    /// What is known about the pair of a question; a question about a pair that is being tried is answered at its end.
    pub fn state(&mut self, question: &VerdictKey) -> Path {
        let pair = pair(question);
        match self.pairs.get(&pair) {
            Some(Path::Tried) => {
                let waiting = self.waiting.entry(pair).or_default();
                if !waiting.contains(question) {
                    waiting.push(*question);
                }
                Path::Tried
            }
            Some(state) => *state,
            None => Path::Unknown,
        }
    }

    fn set(&mut self, pair: Pair, path: Path, now: Instant) {
        if self.pairs.len() >= MAX_PAIRS {
            self.pairs.retain(|_, path| *path == Path::Tried);
        }
        if path == Path::Fails {
            self.again.push_back((now + AGAIN, pair));
        }
        self.pairs.insert(pair, path);
    }

    /// Notes a doubt; true if it is not the first within [`AGAIN`].
    fn doubt(&mut self, pair: Pair, now: Instant) -> bool {
        let fresh = |since: &Instant| now.duration_since(*since) < AGAIN;
        if self.doubted.len() >= MAX_PAIRS {
            self.doubted.retain(|_, since| fresh(since));
        }
        self.doubted
            .insert(pair, now)
            .is_some_and(|since| fresh(&since))
    }

    /// Pairs that failed a while ago; they are unknown from now on.
    fn due(&mut self, now: Instant) -> Vec<Pair> {
        let mut due = Vec::new();
        while let Some((_, pair)) = self.again.pop_front_if(|(at, _)| *at <= now) {
            if self.pairs.get(&pair) == Some(&Path::Fails) {
                self.pairs.remove(&pair);
                due.push(pair);
            }
        }
        due
    }

    /// Pairs whose flows do not arrive as they were sent.
    pub fn failing(&self) -> usize {
        self.pairs
            .values()
            .filter(|path| **path == Path::Fails)
            .count()
    }

    /// Forgets the pairs of a pod.
    pub fn forget(&mut self, number: u32) {
        self.pairs
            .retain(|(a, b, _), _| *a != number && *b != number);
        self.waiting
            .retain(|(a, b, _), _| *a != number && *b != number);
        self.doubted
            .retain(|(a, b, _), _| *a != number && *b != number);
    }
}

/// The pair that a question is about.
pub fn pair(question: &VerdictKey) -> Pair {
    (question.source, question.destination, question.family)
}

impl<K: Kernel> Node<K> {
    /// Begins the trial of a question's pair.
    pub(super) fn try_path(&mut self, question: &VerdictKey, now: Instant) {
        let v4 = question.family == 4;
        let pod = |number| {
            self.by_number
                .get(&number)
                .and_then(|uid| self.pods.get(uid))
        };
        let (Some(from), Some(to)) = (pod(question.source), pod(question.destination)) else {
            return;
        };
        let (Some(source), Some(destination), Some(netns)) =
            (from.ip(v4), to.ip(v4), to.netns.clone())
        else {
            return;
        };
        let trial = Trial {
            question: *question,
            source,
            destination: SocketAddr::new(destination, 0),
            generation: 0,
        };
        self.paths.set(pair(question), Path::Tried, now);
        self.paths.waiting.insert(pair(question), vec![*question]);
        self.effects.push(Effect::TrialListen(trial, netns));
    }

    /// The trial's listener is there: its port is allowed, and the connection is made.
    pub(super) fn trial_listens(
        &mut self,
        mut trial: Trial,
        result: io::Result<(OwnedFd, u16)>,
        now: Instant,
    ) {
        let source = self
            .by_number
            .get(&trial.question.source)
            .and_then(|uid| self.pods.get(uid));
        let netns = source
            .filter(|p| p.stage == Stage::Enrolled)
            .and_then(|p| p.netns.clone());
        match (result, netns) {
            (Ok((listener, port)), Some(netns)) => {
                trial.destination.set_port(port);
                trial.generation = self.config.generation;
                let question = VerdictKey {
                    port,
                    ..trial.question
                };
                self.names.begin_trial(trial.destination);
                self.put_verdict(&question, VERDICT_DIRECT);
                self.effects
                    .push(Effect::TrialConnect(trial, netns, listener));
            }
            (Err(error), _) => self.trial_ended(
                &trial,
                Err(format!("listening in the destination: {error}")),
                now,
            ),
            (_, None) => self.trial_ended(&trial, Err("the source has left the mesh".into()), now),
        }
    }

    /// A trial has ended: the questions that waited for it are answered.
    pub(super) fn trial_ended(&mut self, trial: &Trial, result: Result<(), String>, now: Instant) {
        if trial.destination.port() != 0 {
            self.take_back(&[VerdictKey {
                port: trial.destination.port(),
                ..trial.question
            }]);
        }
        let pair = pair(&trial.question);
        // The pod may have gone meanwhile, and with it what was to be remembered.
        let Some(waiting) = self.paths.waiting.remove(&pair) else {
            return;
        };
        if result.is_err()
            && trial.destination.port() != 0
            && trial.generation != self.config.generation
        {
            // A change of policy came in between: the failure says nothing.
            self.paths.pairs.remove(&pair);
            waiting
                .iter()
                .for_each(|question| self.answer_question(question, now));
            return;
        }
        if let Err(why) = &result {
            tracing::warn!(
                source = %trial.source, destination = %trial.destination.ip(), why,
                "a direct flow does not arrive as it was sent: this pair takes the tunnel; look for masquerade between pods of the node"
            );
        }
        self.paths.set(
            pair,
            if result.is_ok() {
                Path::Works
            } else {
                Path::Fails
            },
            now,
        );
        // Decided anew: policy may have changed during the trial.
        waiting
            .iter()
            .for_each(|question| self.answer_question(question, now));
    }

    /// Plaintext arrived that the kernel had not authorised, although the trial went well: it is repeated. A pair in doubt again
    /// soon after takes the tunnel, for a trial does not see what concerns single ports.
    pub(super) fn missed(&mut self, source: IpAddr, destination: IpAddr, now: Instant) {
        let number = |ip: IpAddr| {
            self.pods
                .values()
                .find(|p| p.record.addresses.contains(&ip))
                .map(|p| p.record.number)
        };
        let (Some(from), Some(to)) = (number(source), number(destination)) else {
            return;
        };
        // A handshake that a change of generation overtook is closed on purpose, and proves nothing.
        if now.duration_since(self.generation_since) < SETTLED {
            return;
        }
        let pair = (from, to, if destination.is_ipv4() { 4 } else { 6 });
        if self.paths.pairs.get(&pair) != Some(&Path::Works) {
            return;
        }
        let questions = self.answers.take_pair(pair);
        if self.paths.doubt(pair, now) {
            tracing::warn!(%source, %destination, "direct flows are not recognised, again: this pair takes the tunnel for a while");
            self.paths.set(pair, Path::Fails, now);
        } else if let Some(question) = questions.first() {
            tracing::info!(%source, %destination, "a direct flow was not recognised: the path is tried again");
            self.try_path(question, now);
        } else {
            // Tried when somebody asks.
            self.paths.pairs.remove(&pair);
        }
        // Those that wait for the trial take the tunnel until it has ended.
        self.take_back(&questions);
        for question in &questions {
            self.answer_question(question, now);
        }
    }

    /// Pairs that failed may be tried again; they are as soon as somebody connects.
    pub(super) fn paths_tick(&mut self, now: Instant) {
        for pair in self.paths.due(now) {
            let questions = self.answers.take_pair(pair);
            self.take_back(&questions);
        }
    }
}
