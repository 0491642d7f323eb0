//! The gRPC service `AggregatedDiscoveryService`, with our own codec for its delta method.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, BoxFuture, StdError};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use warren_api::r#gen::discovery::DeltaDiscoveryRequest;

use super::clients::{Client, Clients};
use super::codec::DeltaCodec;
use super::push::Push;
use super::store::Store;
use super::stream::{QUEUE, Stream};
use crate::auth::{Authenticator, Caller, bearer};
use crate::metrics::Metrics;
use crate::tls::Peer;

/// Largest request: a client that connects again lists all that it has.
pub const MAX_REQUEST: usize = 64 << 20;

/// Longest life of a stream, whatever its token says.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Who may open a stream: `<namespace>/<service account>`, `<namespace>/*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(pub Vec<String>);

impl Allowed {
    /// Whether this account may.
    pub fn permits(&self, caller: &Caller) -> bool {
        let account = caller.account();
        let any = format!("{}/*", caller.namespace);
        self.0
            .iter()
            .any(|p| *p == "*" || *p == any || *p == account)
    }
}

/// The service. Clones share.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// Resources.
    pub store: Store,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// Who may open a stream.
    pub allowed: Arc<Allowed>,
    /// Connected clients.
    pub clients: Clients,
    /// Counters.
    pub metrics: Metrics,
    /// Ends all streams.
    pub stop: CancellationToken,
}

impl Discovery {
    async fn open(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<ReceiverStream<Result<Push, Status>>>, Status> {
        let peer = request.extensions().get::<Peer>().copied();
        let peer = peer.ok_or_else(|| Status::internal("the connection's address is unknown"))?;
        let caller = self
            .caller(request.metadata())
            .await
            .inspect_err(|status| {
                self.metrics.streams_refused.inc();
                tracing::warn!(address = %peer.0, "xDS stream refused: {}", status.message());
            })?;
        let registration = self.clients.add(Client {
            id: caller.pod.clone(),
            node: caller.node.clone(),
            account: caller.account(),
            address: peer.0,
            since: SystemTime::now(),
            last_ack: None,
            nacks: 0,
            last_nack: None,
        });
        tracing::info!(address = %peer.0, node = %caller.node, account = %caller.account(), "xDS client connected");
        let (sender, receiver) = mpsc::channel(QUEUE);
        let left = caller.until.duration_since(SystemTime::now());
        let stream = Stream {
            until: Instant::now() + left.unwrap_or_default().min(LONGEST),
            store: self.store.clone(),
            registration,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        };
        tokio::spawn(stream.run(request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        let caller = self.authenticator.authenticate(bearer(metadata)?).await?;
        if self.allowed.permits(&caller) {
            return Ok(caller);
        }
        Err(Status::permission_denied(format!(
            "service account {} may not read the mesh: allow it with --xds-clients",
            caller.account()
        )))
    }
}

impl NamedService for Discovery {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<B> tower::Service<http::Request<B>> for Discovery
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if !request.uri().path().ends_with("/DeltaAggregatedResources") {
                return Ok(
                    Status::unimplemented("only DeltaAggregatedResources is served").into_http(),
                );
            }
            let mut grpc = Grpc::new(DeltaCodec)
                .max_decoding_message_size(MAX_REQUEST)
                .max_encoding_message_size(usize::MAX);
            Ok(grpc.streaming(Method(service), request).await)
        })
    }
}

struct Method(Discovery);

impl StreamingService<DeltaDiscoveryRequest> for Method {
    type Response = Push;
    type ResponseStream = ReceiverStream<Result<Push, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.open(request).await })
    }
}
