//! A delta xDS client that runs a script and checks what comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};

use super::checks::{Known, check};
use super::step::Step;
use super::{Node, PATH, Request, Response, Type};
use crate::dial::Controller;
use crate::error::WireError;
use crate::grpc::{Call, Item};
use crate::report;

/// Why a script ended early.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// A step did not hold.
    #[error("{0}")]
    Failed(String),
    /// The stream ended with this gRPC status.
    #[error("{0}")]
    Ended(String),
    /// The connection failed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

#[derive(Default)]
struct State {
    held: BTreeMap<String, (String, Json)>,
    removed: BTreeSet<String>,
    /// Resources since the last connect.
    resources: usize,
    /// Responses since the last connect, with the number of resources of the first.
    responses: usize,
    first: Option<usize>,
    wildcard: bool,
    subscribed: BTreeSet<String>,
    asked_node: bool,
    nack: bool,
    claims: BTreeMap<String, String>,
}

/// The client.
pub struct Client {
    controller: Controller,
    node: Node,
    limit: Duration,
    verbose: bool,
    call: Option<Call>,
    types: BTreeMap<Type, State>,
    known: Known,
    /// What was found wrong, whatever the script says.
    pub violations: Vec<String>,
}

impl Client {
    /// A client that is not yet connected.
    pub fn new(controller: Controller, node: Node, verbose: bool) -> Self {
        let types = [Type::Address, Type::Authorization];
        Self {
            limit: controller.limit(),
            controller,
            node,
            verbose,
            call: None,
            types: types.into_iter().map(|t| (t, State::default())).collect(),
            known: Known::default(),
            violations: Vec::new(),
        }
    }

    /// Runs one step.
    pub async fn run(&mut self, step: &Step) -> Result<Result<(), Stop>> {
        if self.call.is_none() {
            match self.controller.call(PATH).await? {
                Ok(call) => self.call = Some(call),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        Ok(match step {
            Step::Touch(file) => {
                std::fs::write(file, "")
                    .with_context(|| format!("cannot make {}", file.display()))?;
                Ok(())
            }
            Step::Reconnect => {
                self.call = None;
                match self.controller.call(PATH).await? {
                    Ok(call) => self.reconnected(call).await,
                    Err(error) => Err(error.into()),
                }
            }
            other => self.step(other).await,
        })
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Start => self.start(false).await,
            Step::StartOnDemand => self.start(true).await,
            Step::Subscribe(kind, name) => self.subscribe(*kind, name).await,
            Step::Unsubscribe(kind, name) => {
                self.state(*kind).subscribed.remove(name);
                let request = Request {
                    unsubscribe: vec![name.clone()],
                    ..Request::default()
                };
                self.send(*kind, request).await
            }
            Step::Nack(kind) => {
                self.state(*kind).nack = true;
                Ok(())
            }
            Step::Stale(kind, name) | Step::Outdated(kind, name) => {
                self.claim(*kind, name, "a version that never was")
            }
            Step::Unversioned(kind, name) => self.claim(*kind, name, ""),
            Step::StaleMany(kind, count) => {
                (0..*count).try_for_each(|at| self.claim(*kind, &format!("gone/{at}"), "1"))
            }
            Step::Quiet(time) => self.quiet(*time).await,
            Step::Changed(kind, name) => {
                let before = self.state(*kind).held.get(name).map(|h| h.0.clone());
                let differs = |s: &State| s.held.get(name).map(|h| &h.0) != before.as_ref();
                self.until(step, |c| differs(&c.types[kind])).await
            }
            Step::Absent(kind, name) if self.types[kind].held.contains_key(name) => {
                Err(Stop::Failed(format!("{name} is there")))
            }
            Step::Resent(kind, count) if self.types[kind].resources != *count => {
                let came = self.types[kind].resources;
                Err(Stop::Failed(format!(
                    "{came} resources came, expected {count}"
                )))
            }
            other => self.until(other, |client| client.holds(other)).await,
        }
    }

    fn holds(&self, step: &Step) -> bool {
        match step {
            Step::Synced => self.types.values().all(|s| !s.wildcard || s.responses > 0),
            Step::Empty(kind) => self.types[kind].first == Some(0),
            Step::None(kind) => self.types[kind].held.is_empty(),
            Step::Present(kind, name) => self.types[kind].held.contains_key(name),
            Step::Removed(kind, name) => self.types[kind].removed.contains(name),
            Step::Contains(kind, name, part) => self.types[kind]
                .held
                .get(name)
                .is_some_and(|(_, value)| value.to_string().contains(part.as_str())),
            Step::Any(kind, part) => {
                let mut held = self.types[kind].held.values();
                held.any(|(_, value)| value.to_string().contains(part.as_str()))
            }
            Step::WaitFile(file) => file.exists(),
            _ => true,
        }
    }

    fn state(&mut self, kind: Type) -> &mut State {
        self.types.entry(kind).or_default()
    }

    fn claim(&mut self, kind: Type, name: &str, version: &str) -> Result<(), Stop> {
        let claims = &mut self.state(kind).claims;
        claims.insert(name.to_owned(), version.to_owned());
        Ok(())
    }

    async fn start(&mut self, on_demand: bool) -> Result<(), Stop> {
        self.state(Type::Authorization).wildcard = true;
        self.state(Type::Address).wildcard = !on_demand;
        let star = if on_demand {
            vec!["*".to_owned()]
        } else {
            Vec::new()
        };
        let request = Request {
            subscribe: star.clone(),
            unsubscribe: star,
            ..Request::default()
        };
        self.send(Type::Address, request).await?;
        self.send(Type::Authorization, Request::default()).await
    }

    async fn subscribe(&mut self, kind: Type, name: &str) -> Result<(), Stop> {
        self.known.asked.insert(name.to_owned());
        self.state(kind).removed.remove(name);
        self.state(kind).subscribed.insert(name.to_owned());
        let request = Request {
            subscribe: vec![name.to_owned()],
            ..Request::default()
        };
        self.send(kind, request).await
    }

    async fn reconnected(&mut self, call: Call) -> Result<(), Stop> {
        self.call = Some(call);
        for kind in [Type::Address, Type::Authorization] {
            let state = self.state(kind);
            let mut versions: BTreeMap<String, String> = state
                .held
                .iter()
                .map(|(n, (v, _))| (n.clone(), v.clone()))
                .collect();
            versions.extend(std::mem::take(&mut state.claims));
            (state.resources, state.responses, state.first) = (0, 0, None);
            state.asked_node = false;
            state.removed.clear();
            let mut request = Request {
                versions,
                ..Request::default()
            };
            if !state.wildcard {
                request.subscribe = state.subscribed.iter().cloned().collect();
                request.subscribe.push("*".into());
                request.unsubscribe.push("*".into());
            }
            self.send(kind, request).await?;
        }
        Ok(())
    }

    async fn send(&mut self, kind: Type, mut request: Request) -> Result<(), Stop> {
        if !std::mem::replace(&mut self.state(kind).asked_node, true) {
            request.node = Some(self.node.clone());
        }
        let (bytes, limit) = (request.encode(kind), self.limit);
        Ok(self.call()?.send(&bytes, false, limit).await?)
    }

    fn call(&mut self) -> Result<&mut Call, Stop> {
        self.call.as_mut().ok_or(Stop::Wire(WireError::Closed))
    }

    async fn until(&mut self, step: &Step, holds: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        let deadline = Instant::now() + self.limit;
        // A file appears without a response.
        let pause = Duration::from_millis(50);
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stop::Failed(format!(
                    "{step:?} did not hold within {:?}",
                    self.limit
                )));
            }
            match self.receive(left.min(pause)).await {
                Ok(()) | Err(Stop::Wire(WireError::TimedOut)) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    async fn quiet(&mut self, time: Duration) -> Result<(), Stop> {
        match self.receive(time).await {
            Err(Stop::Wire(WireError::TimedOut)) => Ok(()),
            Ok(()) => Err(Stop::Failed("a response came where none was due".into())),
            Err(stop) => Err(stop),
        }
    }

    async fn receive(&mut self, limit: Duration) -> Result<(), Stop> {
        let message = match self.call()?.next(limit).await? {
            Item::Message(message) => message,
            Item::End(status) => {
                report::line(&json!({"event": "end", "grpc_name": status.name(),
                    "grpc_message": status.message, "http_status": status.http}));
                return Err(Stop::Ended(status.name()));
            }
        };
        let response = Response::decode(&message)?;
        self.violations.extend(check(&response, &self.known));
        if self.verbose {
            report::line(&response.describe());
        }
        self.answer(response).await
    }

    async fn answer(&mut self, response: Response) -> Result<(), Stop> {
        let kind = response.kind;
        let state = self.state(kind);
        let mut request = Request {
            nonce: response.nonce.clone(),
            ..Request::default()
        };
        state.responses += 1;
        state.first.get_or_insert(response.resources.len());
        state.resources += response.resources.len();
        if std::mem::take(&mut state.nack) {
            request.error = Some("refused on purpose".into());
            return self.send(kind, request).await;
        }
        for resource in response.resources {
            state.removed.remove(&resource.name);
            state
                .held
                .insert(resource.name, (resource.version, resource.value));
        }
        for name in response.removed {
            state.held.remove(&name);
            state.removed.insert(name);
        }
        if kind == Type::Authorization {
            self.known.policies = self.types[&kind].held.keys().cloned().collect();
        }
        self.send(kind, request).await
    }

    /// How many resources of each type are held.
    pub fn counts(&self) -> Json {
        let count = |kind| self.types[&kind].held.len();
        json!({"address": count(Type::Address), "authorization": count(Type::Authorization)})
    }
}

/// Runs the steps; the outcome is `ok`, `step:…`, a gRPC status, or what befell the connection.
pub async fn run(client: &mut Client, steps: &[Step]) -> Result<String> {
    if steps.is_empty() {
        bail!("a script without steps");
    }
    for step in steps {
        let begin = Instant::now();
        let result = client.run(step).await?;
        report::line(&json!({
            "event": "step",
            "step": format!("{step:?}"),
            "ok": result.is_ok(),
            "error": result.as_ref().err().map(ToString::to_string),
            "ms": begin.elapsed().as_millis(),
            "held": client.counts(),
        }));
        match result {
            Ok(()) => {}
            Err(Stop::Failed(_)) => return Ok(format!("step:{step:?}")),
            Err(Stop::Ended(name)) => return Ok(name),
            Err(Stop::Wire(error)) => return Ok(error.outcome()),
        }
    }
    Ok("ok".into())
}
