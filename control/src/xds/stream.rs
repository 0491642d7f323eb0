//! The task of one stream: requests in, responses out through a short queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use warren_api::r#gen::discovery::DeltaDiscoveryRequest;

use super::Type;
use super::clients::Registration;
use super::push::Push;
use super::session::{Ack, Session};
use super::store::{Head, Store};
use crate::metrics::Metrics;

/// Responses that wait for the connection; more wait as references to shared resources.
pub const QUEUE: usize = 2;
/// A client that takes nothing for this long is cut off, and comes back when it can.
const STUCK: Duration = Duration::from_secs(120);

/// One stream.
#[derive(Debug)]
pub struct Stream {
    /// Resources.
    pub store: Store,
    /// The client's entry in the list.
    pub registration: Registration,
    /// Counters.
    pub metrics: Metrics,
    /// Ends all streams.
    pub stop: CancellationToken,
    /// When the token that opened it is no longer taken.
    pub until: Instant,
}

type Sender = mpsc::Sender<Result<Push, Status>>;

enum Event {
    Request(Result<Option<Box<DeltaDiscoveryRequest>>, Status>),
    Changed,
    Sent,
    Wake,
    Stuck,
    Closed,
    Expired,
    Stop,
}

impl Stream {
    /// Serves until either side ends.
    pub async fn run(self, mut requests: Streaming<DeltaDiscoveryRequest>, responses: Sender) {
        self.metrics.clients.inc();
        let ended = self.serve(&mut requests, &responses).await;
        self.metrics.clients.dec();
        match ended {
            Ok(()) => {}
            Err(status) => {
                tracing::info!(code = ?status.code(), "xDS stream ends: {}", status.message());
                // The client may be gone already.
                let _ = responses.try_send(Err(status));
            }
        }
    }

    async fn serve(
        &self,
        requests: &mut Streaming<DeltaDiscoveryRequest>,
        responses: &Sender,
    ) -> Result<(), Status> {
        let mut head = self.store.watch();
        head.mark_changed();
        let mut session = Session::default();
        let mut queue: VecDeque<Push> = VecDeque::new();
        let mut nonce = 0_u64;
        let mut progress = Instant::now();
        loop {
            let event = self
                .next(
                    requests, responses, &mut head, &mut queue, &session, progress,
                )
                .await;
            match event {
                Event::Request(Ok(Some(request))) => self.request(&mut session, *request)?,
                Event::Request(Ok(None)) | Event::Closed => return Ok(()),
                Event::Request(Err(status)) => return Err(status),
                Event::Sent => progress = Instant::now(),
                Event::Changed | Event::Wake => {}
                Event::Stuck => {
                    return Err(Status::aborted(format!(
                        "took no response for {} s",
                        STUCK.as_secs()
                    )));
                }
                Event::Expired => {
                    return Err(Status::unauthenticated(
                        "the token that opened this stream has expired: open another one with its successor",
                    ));
                }
                Event::Stop => return Err(Status::unavailable("the controller shuts down")),
            }
            // While responses wait, changes gather in the store, each resource once.
            if queue.is_empty() {
                let changed_at = head.borrow_and_update().at;
                let pushes = session.collect(&self.store.read(), Instant::now())?;
                for mut push in pushes {
                    nonce += 1;
                    push.nonce = format!("{nonce:x}");
                    self.count(&push, changed_at);
                    queue.push_back(push);
                }
                if !queue.is_empty() {
                    progress = Instant::now();
                }
            }
        }
    }

    async fn next(
        &self,
        requests: &mut Streaming<DeltaDiscoveryRequest>,
        responses: &Sender,
        head: &mut watch::Receiver<Head>,
        queue: &mut VecDeque<Push>,
        session: &Session,
        progress: Instant,
    ) -> Event {
        let waiting = !queue.is_empty();
        let now = Instant::now();
        let (deadline, at_deadline) = match session.wake(now) {
            _ if waiting => (Some(progress + STUCK), Event::Stuck),
            wake => (wake, Event::Wake),
        };
        tokio::select! {
            () = self.stop.cancelled() => Event::Stop,
            () = sleep_until(Some(self.until)) => Event::Expired,
            request = requests.message() => Event::Request(request.map(|r| r.map(Box::new))),
            permit = responses.reserve(), if waiting => match (permit, queue.pop_front()) {
                (Ok(permit), Some(push)) => {
                    permit.send(Ok(push));
                    Event::Sent
                }
                _ => Event::Closed,
            },
            _ = head.changed(), if !waiting => Event::Changed,
            () = sleep_until(deadline) => at_deadline,
        }
    }

    fn request(&self, session: &mut Session, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if let Some(node) = request.node.as_ref().filter(|n| !n.id.is_empty()) {
            self.registration.update(|c| c.id.clone_from(&node.id));
        }
        let type_url = request.type_url.clone();
        match session.request(request, Instant::now())? {
            Ack::None => {}
            Ack::Taken(nonce) => self.registration.update(|c| {
                c.last_ack = Some(nonce);
                c.last_nack = None;
            }),
            Ack::Refused(nonce, reason) => {
                self.metrics.nacks.inc();
                self.registration.update(|c| {
                    tracing::warn!(client = %c.id, node = %c.node, %nonce, %type_url, "client refused an update: {reason}");
                    c.nacks += 1;
                    c.last_nack = Some(reason);
                });
            }
        }
        Ok(())
    }

    fn count(&self, push: &Push, changed_at: Instant) {
        let kind = Type::of(&push.type_url);
        let bytes = push.encoded_len() as u64;
        self.metrics.pushed(
            kind,
            push.resources.len() + push.removed.len(),
            bytes,
            changed_at.elapsed(),
        );
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
