//! The HTTPS side: bounded connections, bodies and time.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{AdmissionError, review};
use crate::metrics::Metrics;
use crate::pipeline::SharedIndex;
use crate::tls::{Connection, Limits};

/// The path of reviews.
pub const PATH: &str = "/validate";
/// Larger bodies are refused; the API server's own limit for objects is the same.
pub const MAX_BODY: usize = 3 << 20;
/// Bodies in memory at once, in KiB: what is larger waits for its turn.
const BUDGET: usize = 16 << 10;
/// One review, from its head to the answer; the API server waits for 5 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// A connection without a request; the API server ends those itself after 90 s.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// Connections, in all and from one address: API servers are few.
const CONNECTIONS: (usize, usize) = (512, 128);

/// What the webhook needs. Clones share.
#[derive(Clone, Debug)]
pub struct Webhook {
    index: SharedIndex,
    metrics: Metrics,
    budget: Arc<Semaphore>,
}

impl Webhook {
    /// A webhook that judges by this index.
    pub fn new(index: SharedIndex, metrics: Metrics) -> Self {
        Self {
            index,
            metrics,
            budget: Arc::new(Semaphore::new(BUDGET)),
        }
    }

    /// How many connections it takes.
    pub fn limits() -> Limits {
        Limits::new(CONNECTIONS.0, CONNECTIONS.1)
    }

    /// Serves what is accepted until `stop`; reviews under way are answered.
    pub async fn serve(
        self,
        mut connections: mpsc::Receiver<io::Result<Connection>>,
        stop: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next() => {}
                connection = connections.recv() => match connection {
                    Some(Ok(connection)) => {
                        tasks.spawn(self.clone().connection(connection, stop.clone()));
                    }
                    Some(Err(e)) => tracing::debug!("webhook: {e}"),
                    None => break,
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn connection(self, connection: Connection, stop: CancellationToken) {
        let service = service_fn(move |request| {
            let webhook = self.clone();
            async move { Ok::<_, Infallible>(webhook.answer(request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_LIMIT)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(connection), service);
        let mut served = pin!(served);
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(e) = ended {
            tracing::debug!("webhook: a connection ended: {e}");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let reviewed = timeout(REQUEST_LIMIT, self.review(request)).await;
        let reviewed =
            reviewed.unwrap_or(Err(AdmissionError::Busy("no complete request within 4 s")));
        let (status, kind, body) = match reviewed {
            Ok(body) => (StatusCode::OK, "application/json", body),
            Err(e) => {
                self.metrics.reviewed("failed");
                tracing::debug!("webhook: {e}");
                (e.status(), "text/plain", format!("{e}\n"))
            }
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let kind = header::HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    async fn review(&self, request: Request<Incoming>) -> Result<String, AdmissionError> {
        if request.uri().path() != PATH {
            return Err(AdmissionError::NotFound);
        }
        if request.method() != Method::POST {
            return Err(AdmissionError::Method);
        }
        let body = request.into_body();
        // A body that does not say how long it is may become as long as it may.
        let length = body.size_hint().upper().unwrap_or(MAX_BODY as u64);
        if length > MAX_BODY as u64 {
            return Err(AdmissionError::TooLarge);
        }
        let share = u32::try_from(length >> 10).unwrap_or(u32::MAX) + 1;
        let busy = || AdmissionError::Busy("too much to do");
        let _share = self.budget.acquire_many(share).await.map_err(|_| busy())?;
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|e| match e.is::<LengthLimitError>() {
            true => AdmissionError::TooLarge,
            false => AdmissionError::Busy("the request broke off"),
        })?;
        let (answer, allowed) = review::answer(&body.to_bytes(), &self.index)?;
        let verdict = if allowed { "allowed" } else { "refused" };
        self.metrics.reviewed(verdict);
        Ok(answer.to_string())
    }
}
