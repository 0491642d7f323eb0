//! One stream to the controller.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{self, error::SendTimeoutError};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Streaming};

use super::client::SharedStatus;
use super::demand::{Command, Demands};
use super::inventory::{Inventory, Kind};
use super::{Config, MAX_RESPONSE, Mode, Update, request};
use crate::channel::describe;
use crate::r#gen::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use crate::r#gen::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

const OPEN_LIMIT: Duration = Duration::from_secs(30);
const SEND_LIMIT: Duration = Duration::from_secs(10);
const WAITING_REQUESTS: usize = 64;
/// How long addresses wait for the policies that they name.
const HOLD_LIMIT: Duration = Duration::from_secs(2);
const MAX_HELD: usize = 32;
const MAX_REJECTED: usize = 1_000;

/// Why a session ended.
pub(super) enum Ended {
    /// Nobody reads the updates any more.
    Unread,
    /// The stream could not be opened or broke.
    Failed(String),
}

/// What outlives a session.
pub(super) struct Worker {
    pub config: Config,
    updates: mpsc::Sender<Update>,
    commands: mpsc::Receiver<Command>,
    status: SharedStatus,
    inventory: Inventory,
    demands: Demands,
}

impl Worker {
    pub fn new(
        config: Config,
        updates: mpsc::Sender<Update>,
        commands: mpsc::Receiver<Command>,
        status: SharedStatus,
    ) -> Self {
        let (inventory, demands) = (Inventory::default(), Demands::default());
        Self {
            config,
            updates,
            commands,
            status,
            inventory,
            demands,
        }
    }

    /// Waits for `until` while demands are still taken in; false where nobody reads the updates any more.
    pub async fn wait(&mut self, until: impl Future<Output = ()>) -> bool {
        let mut until = pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return true,
                () = self.updates.closed() => return false,
                Some(command) = self.commands.recv() => { self.demand(command); }
            }
        }
    }

    pub fn disconnected(&self, reason: &str) {
        let mut status = self.status.lock();
        status.connected_since = None;
        status.last_error = Some(reason.to_owned());
    }

    /// Takes a demand in; returns the name where it has to be subscribed to.
    fn demand(&mut self, command: Command) -> Option<String> {
        if self.config.mode == Mode::Wildcard && self.inventory.is_synced(Kind::Addresses) {
            let _ = command.reply.send(());
            return None;
        }
        let name = command.name.clone();
        self.demands.register(command).then_some(name)
    }

    fn first_request(&self, kind: Kind) -> DeltaDiscoveryRequest {
        let versions = self.inventory.versions(kind).collect();
        let (subscribe, unsubscribe) = match (kind, self.config.mode) {
            (Kind::Addresses, Mode::OnDemand) => {
                let all = "*".to_owned();
                (
                    std::iter::once(all.clone())
                        .chain(self.demands.names())
                        .collect(),
                    vec![all],
                )
            }
            _ => (Vec::new(), Vec::new()),
        };
        request::first(&self.config, kind, versions, subscribe, unsubscribe)
    }
}

/// One stream.
pub(super) struct Session<'a> {
    worker: &'a mut Worker,
    requests: Option<mpsc::Sender<DeltaDiscoveryRequest>>,
    received: bool,
    policies_seen: bool,
    held: VecDeque<DeltaDiscoveryResponse>,
    held_until: Instant,
}

impl<'a> Session<'a> {
    pub fn new(worker: &'a mut Worker) -> Self {
        let held_until = Instant::now();
        let held = VecDeque::new();
        Self {
            worker,
            requests: None,
            received: false,
            policies_seen: false,
            held,
            held_until,
        }
    }

    /// Whether a response arrived.
    pub fn received(&self) -> bool {
        self.received
    }

    pub async fn run(&mut self) -> Ended {
        let result = async {
            let mut stream = self.open().await?;
            self.serve(&mut stream).await
        };
        match result.await {
            Err(ended) => ended,
            Ok(()) => Ended::Failed("the controller closed the stream".into()),
        }
    }

    async fn open(&mut self) -> Result<Streaming<DeltaDiscoveryResponse>, Ended> {
        let failed = |e: crate::channel::Error| Ended::Failed(e.to_string());
        let target = &self.worker.config.target;
        let channel = target.channel().map_err(failed)?;
        let headers = target.headers().map_err(failed)?;
        let (requests, queue) = mpsc::channel(WAITING_REQUESTS);
        for kind in Kind::ALL {
            // The queue is new and has room for these two.
            let _ = requests.try_send(self.worker.first_request(kind));
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(MAX_RESPONSE)
            .max_encoding_message_size(MAX_RESPONSE)
            .accept_compressed(CompressionEncoding::Gzip);
        let mut call = Request::new(ReceiverStream::new(queue));
        *call.metadata_mut() = headers;
        let mut opened = pin!(timeout(OPEN_LIMIT, client.delta_aggregated_resources(call)));
        let response = loop {
            tokio::select! {
                response = &mut opened => break response,
                () = self.worker.updates.closed() => return Err(Ended::Unread),
                Some(command) = self.worker.commands.recv() => {
                    if let Some(name) = self.worker.demand(command) {
                        let added = request::subscription(Kind::Addresses, vec![name], Vec::new());
                        if requests.try_send(added).is_err() {
                            return Err(Ended::Failed("too many requests while the stream was opened".into()));
                        }
                    }
                }
            }
        };
        let response =
            response.map_err(|_| Ended::Failed(format!("no answer within {OPEN_LIMIT:?}")))?;
        let stream = response
            .map_err(|e| Ended::Failed(describe(&e)))?
            .into_inner();
        self.requests = Some(requests);
        let mut status = self.worker.status.lock();
        status.connected_since = Some(SystemTime::now());
        status.connects += 1;
        status.last_error = None;
        Ok(stream)
    }

    async fn serve(&mut self, stream: &mut Streaming<DeltaDiscoveryResponse>) -> Result<(), Ended> {
        loop {
            tokio::select! {
                message = stream.message() => match message {
                    Ok(Some(response)) => self.receive(response).await?,
                    Ok(None) => return Ok(()),
                    Err(e) => return Err(Ended::Failed(describe(&e))),
                },
                () = sleep_until(self.held_until), if !self.held.is_empty() => self.release().await?,
                () = self.worker.updates.closed() => return Err(Ended::Unread),
                Some(command) = self.worker.commands.recv() => {
                    if let Some(name) = self.worker.demand(command) {
                        self.send(request::subscription(Kind::Addresses, vec![name], Vec::new())).await?;
                    }
                }
            }
        }
    }

    /// Applies a response, but addresses only after the first policies of the stream: a workload that names a policy
    /// which is still unknown would refuse connections for a moment.
    async fn receive(&mut self, response: DeltaDiscoveryResponse) -> Result<(), Ended> {
        self.received = true;
        let Some(kind) = Kind::from_type_url(&response.type_url) else {
            tracing::warn!(type_url = %response.type_url, "the controller sent a type that was not asked for");
            return Ok(());
        };
        if kind == Kind::Addresses && !self.policies_seen {
            if self.held.is_empty() {
                self.held_until = Instant::now() + HOLD_LIMIT;
            }
            self.held.push_back(response);
            return if self.held.len() > MAX_HELD {
                self.release().await
            } else {
                Ok(())
            };
        }
        let last = !response.more;
        self.apply(kind, response).await?;
        if kind == Kind::Policies && last {
            self.release().await
        } else {
            Ok(())
        }
    }

    async fn release(&mut self) -> Result<(), Ended> {
        self.policies_seen = true;
        while let Some(response) = self.held.pop_front() {
            self.apply(Kind::Addresses, response).await?;
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        kind: Kind,
        mut response: DeltaDiscoveryResponse,
    ) -> Result<(), Ended> {
        let nonce = std::mem::take(&mut response.nonce);
        let on_demand = kind == Kind::Addresses && self.worker.config.mode == Mode::OnDemand;
        let mut applied = self.worker.inventory.apply(kind, response, on_demand);
        let mut dropped = Vec::new();
        if on_demand {
            (applied.update.waiters, dropped) = self
                .worker
                .demands
                .answer(&applied.present, &applied.absent);
        } else if applied.update.addresses_synced {
            applied.update.waiters = self.worker.demands.answer_all();
        }
        self.note(&applied.rejected, &applied.accepted);
        let rejected = applied.update.rejected.clone();
        self.worker
            .updates
            .send(applied.update)
            .await
            .map_err(|_| Ended::Unread)?;
        self.send(request::acknowledge(kind, nonce, &rejected))
            .await?;
        if !dropped.is_empty() {
            self.send(request::subscription(Kind::Addresses, Vec::new(), dropped))
                .await?;
        }
        Ok(())
    }

    fn note(&self, rejected: &[(String, crate::codec::DecodeError)], accepted: &[String]) {
        let inventory = &self.worker.inventory;
        let counts = inventory.counts();
        let mut status = self.worker.status.lock();
        status.last_update = Some(SystemTime::now());
        status.nacks += u64::from(!rejected.is_empty());
        if !status.rejected.is_empty() {
            for name in accepted {
                status.rejected.remove(name);
            }
        }
        for (name, error) in rejected {
            tracing::warn!(resource = %name, %error, "refused a resource; its earlier version, if any, stays");
            if status.rejected.len() < MAX_REJECTED {
                status.rejected.insert(name.clone(), error.clone());
            }
        }
        if status.closed != *inventory.closed() {
            status.closed.clone_from(inventory.closed());
        }
        status.workloads = counts.workloads;
        status.services = counts.services;
        status.policies = counts.policies;
        status.policies_synced = inventory.is_synced(Kind::Policies);
        status.addresses_synced = inventory.is_synced(Kind::Addresses);
    }

    async fn send(&self, message: DeltaDiscoveryRequest) -> Result<(), Ended> {
        let Some(requests) = &self.requests else {
            return Ok(());
        };
        requests
            .send_timeout(message, SEND_LIMIT)
            .await
            .map_err(|e| {
                Ended::Failed(match e {
                    SendTimeoutError::Closed(_) => "the stream broke".into(),
                    SendTimeoutError::Timeout(_) => {
                        format!("the controller read no request for {SEND_LIMIT:?}")
                    }
                })
            })
    }
}
