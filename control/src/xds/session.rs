//! One stream's state: what the client follows, and up to where it was told. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use warren_api::r#gen::discovery::DeltaDiscoveryRequest;

use super::Type;
use super::demand::{Answer, Demand, MAX_NAMES};
use super::push::{Named, Push, chunks};
use super::store::{Inner, Resources};

/// How long workloads wait for the client to ask for policies, so that it gets those first: a tunnel that skips unknown
/// policies would be open for a moment.
const POLICIES_FIRST: Duration = Duration::from_millis(100);

/// What a request says about an earlier response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Nothing.
    None,
    /// Taken.
    Taken(String),
    /// Refused, wholly or in part: nonce and reason.
    Refused(String, String),
}

/// One stream.
#[derive(Debug, Default)]
pub struct Session {
    types: [TypeState; 2],
    /// Types that are not served, to be answered once with nothing.
    unknown: Vec<String>,
    answered_unknown: Vec<String>,
    hold_addresses_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct TypeState {
    subscribed: bool,
    wildcard: bool,
    /// The change log up to here was told; None before the first answer.
    seq: Option<u64>,
    /// What the client had when it connected: name to version.
    initial: BTreeMap<String, String>,
    asked: Vec<String>,
    demand: Demand,
}

impl Session {
    /// Takes in a request.
    ///
    /// # Errors
    /// More names than one stream may ask for.
    pub fn request(&mut self, request: DeltaDiscoveryRequest, now: Instant) -> Result<Ack, Status> {
        let ack = match (request.response_nonce.is_empty(), &request.error_detail) {
            (true, _) => Ack::None,
            (false, None) => Ack::Taken(request.response_nonce.clone()),
            (false, Some(e)) => Ack::Refused(request.response_nonce.clone(), e.message.clone()),
        };
        let Some(kind) = Type::of(&request.type_url) else {
            if !self.unknown.contains(&request.type_url)
                && !self.answered_unknown.contains(&request.type_url)
            {
                if self.answered_unknown.len() + self.unknown.len() >= 16 {
                    return Err(Status::resource_exhausted(
                        "more than 16 resource types that are not served",
                    ));
                }
                self.unknown.push(request.type_url);
            }
            return Ok(ack);
        };
        if kind == Type::Address && !self.types[kind as usize].subscribed {
            self.hold_addresses_until = Some(now + POLICIES_FIRST);
        }
        self.types[kind as usize].request(request)?;
        Ok(ack)
    }

    /// Whether the client gets all resources of the type, and how many names it asks for otherwise.
    pub fn follows(&self, kind: Type) -> (bool, usize) {
        let state = &self.types[kind as usize];
        (state.wildcard, state.demand.len())
    }

    /// When [`Self::collect`] has to be called again though nothing happened.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        self.hold_addresses_until
            .filter(|t| *t > now && self.holds_addresses(now))
    }

    /// Everything that the client has to be told, in order: policies, workloads and services, removed policies.
    ///
    /// # Errors
    /// The client was behind for so long that removals are forgotten; it has to connect anew.
    pub fn collect(&mut self, store: &Inner, now: Instant) -> Result<Vec<Push>, Status> {
        if self
            .types
            .iter()
            .filter_map(|t| t.seq)
            .any(|seq| !store.remembers(seq))
        {
            return Err(Status::aborted(
                "the client was too far behind: connect anew",
            ));
        }
        let mut pushes = Vec::new();
        for url in std::mem::take(&mut self.unknown) {
            pushes.extend(chunks(&url, Vec::new(), Vec::new()));
            self.answered_unknown.push(url);
        }
        let (first, policies) = self.types[0].collect(store.of(Type::Authorization), store.seq());
        if first || !policies.resources.is_empty() {
            pushes.extend(chunks(
                Type::Authorization.url(),
                policies.resources,
                Vec::new(),
            ));
        }
        if !self.holds_addresses(now) {
            let (first, addresses) = self.types[1].collect(store.of(Type::Address), store.seq());
            if first || !addresses.resources.is_empty() || !addresses.removed.is_empty() {
                pushes.extend(chunks(
                    Type::Address.url(),
                    addresses.resources,
                    addresses.removed,
                ));
            }
        }
        if !policies.removed.is_empty() {
            pushes.extend(chunks(
                Type::Authorization.url(),
                Vec::new(),
                policies.removed,
            ));
        }
        Ok(pushes)
    }

    fn holds_addresses(&self, now: Instant) -> bool {
        let [policies, addresses] = &self.types;
        addresses.seq.is_none()
            && !policies.subscribed
            && self.hold_addresses_until.is_some_and(|t| t > now)
    }
}

impl TypeState {
    fn request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        let (stars, names): (Vec<_>, Vec<_>) = request
            .resource_names_subscribe
            .into_iter()
            .partition(|n| n == "*");
        if !self.subscribed {
            self.subscribed = true;
            self.wildcard = !stars.is_empty() || names.is_empty();
            self.initial = request.initial_resource_versions;
        } else if !stars.is_empty() && !self.wildcard {
            self.wildcard = true;
            self.seq = None;
        }
        for name in &request.resource_names_unsubscribe {
            if name == "*" {
                self.wildcard = false;
            }
        }
        self.demand.unsubscribe(
            request
                .resource_names_unsubscribe
                .iter()
                .map(String::as_str),
        );
        self.asked.extend(names);
        if self.asked.len() + self.demand.len() + self.initial.len() > 2 * MAX_NAMES {
            return Err(Status::resource_exhausted(format!(
                "more than {MAX_NAMES} names on one stream"
            )));
        }
        Ok(())
    }

    /// The flag says whether an answer is due even if it is empty.
    fn collect(&mut self, from: &Resources, now: u64) -> (bool, Answer) {
        if !self.subscribed {
            return (false, Answer::default());
        }
        let first = self.seq.is_none();
        let mut answer = match (self.seq, self.wildcard) {
            (None, true) => full(&std::mem::take(&mut self.initial), from),
            (None, false) => self.resume(from),
            (Some(seq), true) => Answer {
                resources: from.changed(seq).map(named).collect(),
                removed: from.removed(seq).cloned().collect(),
            },
            (Some(seq), false) => self.demand.changed(seq, from),
        };
        let asked = std::mem::take(&mut self.asked);
        if !asked.is_empty() {
            let mut told = self
                .demand
                .subscribe(asked.iter().map(String::as_str), from);
            answer.resources.append(&mut told.resources);
            answer.removed.append(&mut told.removed);
        }
        self.seq = Some(now);
        (first, answer)
    }

    /// An on-demand client that connects again still wants what it has.
    fn resume(&mut self, from: &Resources) -> Answer {
        let initial = std::mem::take(&mut self.initial);
        let mut answer = self
            .demand
            .subscribe(initial.keys().map(String::as_str), from);
        answer.resources.retain(|n| !has(&initial, n));
        answer
    }
}

fn full(initial: &BTreeMap<String, String>, from: &Resources) -> Answer {
    let resources = from.all().map(named).filter(|n| !has(initial, n)).collect();
    let gone = initial.keys().filter(|name| from.get(name).is_none());
    Answer {
        resources,
        removed: gone.map(|n| n.as_str().into()).collect(),
    }
}

fn has(initial: &BTreeMap<String, String>, named: &Named) -> bool {
    initial
        .get(&*named.name)
        .is_some_and(|v| **v == *named.entry.version)
}

fn named(entry: &Arc<super::store::Entry>) -> Named {
    Named {
        name: entry.name.clone(),
        entry: entry.clone(),
    }
}
