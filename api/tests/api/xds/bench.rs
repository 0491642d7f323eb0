//! A scripted controller, and the resources that it sends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use warren_api::codec::{self, ADDRESS_TYPE, AUTHORIZATION_TYPE};
use warren_api::r#gen::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use warren_api::r#gen::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use warren_api::r#gen::{security, workload as wire};
use warren_api::xds::{Config, Mode, NodeInfo, Update};

use crate::server::{Trust, serve};

pub const LIMIT: Duration = Duration::from_secs(20);

/// One stream as the controller sees it.
pub struct Stream {
    pub headers: MetadataMap,
    pub requests: Streaming<DeltaDiscoveryRequest>,
    pub responses: mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
}

pub struct Ads {
    pub streams: Mutex<mpsc::Sender<Stream>>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let headers = request.metadata().clone();
        let (responses, answers) = mpsc::channel(16);
        let stream = Stream {
            headers,
            requests: request.into_inner(),
            responses,
        };
        self.streams
            .lock()
            .await
            .send(stream)
            .await
            .map_err(|_| Status::unavailable("test is over"))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl Stream {
    pub async fn request(&mut self) -> DeltaDiscoveryRequest {
        let next = timeout(LIMIT, self.requests.next())
            .await
            .expect("a request in time");
        next.expect("an open stream").expect("a good request")
    }

    pub async fn respond(&self, response: DeltaDiscoveryResponse) {
        self.responses
            .send(Ok(response))
            .await
            .expect("an open stream");
    }

    /// The first requests of both types, policies first.
    pub async fn first_requests(&mut self) -> [DeltaDiscoveryRequest; 2] {
        let first = [self.request().await, self.request().await];
        assert_eq!(
            [&*first[0].type_url, &*first[1].type_url],
            [AUTHORIZATION_TYPE, ADDRESS_TYPE]
        );
        first
    }
}

/// A controller, and a client of it.
pub struct Bench {
    pub trust: Trust,
    pub address: SocketAddr,
    pub server: JoinHandle<()>,
    pub streams: mpsc::Receiver<Stream>,
}

impl Bench {
    pub async fn new() -> Self {
        let trust = Trust::new();
        let (address, server, streams) = start(&trust, "127.0.0.1:0").await;
        Self {
            trust,
            address,
            server,
            streams,
        }
    }

    pub fn config(&self, mode: Mode) -> Config {
        let node = NodeInfo {
            ip: "10.9.0.1".parse().expect("an address"),
            pod: "ztunnel-x".into(),
            namespace: "warren-system".into(),
            node: "a".into(),
            metadata: [("EXTRA".to_owned(), "1".to_owned())].into(),
        };
        Config {
            mode,
            ..Config::new(self.trust.target(self.address), node)
        }
    }

    pub async fn stream(&mut self) -> Stream {
        timeout(LIMIT, self.streams.recv())
            .await
            .expect("a stream in time")
            .expect("a stream")
    }
}

pub async fn start(
    trust: &Trust,
    address: &str,
) -> (SocketAddr, JoinHandle<()>, mpsc::Receiver<Stream>) {
    let (sender, streams) = mpsc::channel(16);
    let ads = AggregatedDiscoveryServiceServer::new(Ads {
        streams: Mutex::new(sender),
    });
    let (address, server) = serve(trust, address, "127.0.0.1", Routes::new(ads)).await;
    (address, server, streams)
}

pub async fn next(updates: &mut mpsc::Receiver<Update>) -> Update {
    timeout(LIMIT, updates.recv())
        .await
        .expect("an update in time")
        .expect("an update")
}

pub fn workload(name: &str, ip: [u8; 4], version: &str) -> Resource {
    let uid = format!("Kubernetes//Pod/shop/{name}");
    let w = wire::Workload {
        uid: uid.clone(),
        name: name.into(),
        namespace: "shop".into(),
        addresses: vec![ip.to_vec().into()],
        ..Default::default()
    };
    let address = wire::Address {
        r#type: Some(wire::address::Type::Workload(w)),
    };
    resource(&uid, version, codec::pack_address(&address))
}

pub fn policy(name: &str, version: &str) -> Resource {
    let p = security::Authorization {
        name: name.into(),
        namespace: "shop".into(),
        ..Default::default()
    };
    let policy = warren_core::policy::Policy::try_from(&p).expect("a policy");
    resource(
        &format!("shop/{name}"),
        version,
        codec::pack_policy(&policy),
    )
}

pub fn resource(name: &str, version: &str, any: prost_types::Any) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        resource: Some(any),
        aliases: Vec::new(),
    }
}

pub fn addresses(
    nonce: &str,
    resources: Vec<Resource>,
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: ADDRESS_TYPE.into(),
        nonce: nonce.into(),
        resources,
        removed_resources: removed.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

pub fn policies(nonce: &str, resources: Vec<Resource>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: AUTHORIZATION_TYPE.into(),
        nonce: nonce.into(),
        resources,
        ..Default::default()
    }
}
