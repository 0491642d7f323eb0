//! Delta xDS by the generated client, against the real binary.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use warren_api::codec::{ADDRESS_TYPE, AUTHORIZATION_TYPE, unpack_policy};
use warren_api::r#gen::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use warren_api::r#gen::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use crate::support::model::{meshed, pod};
use crate::support::process::Controller;

/// One stream.
pub struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    pub async fn open(controller: &Controller, token: &str) -> Result<Self, Status> {
        let target = controller.target(token);
        let channel = target.channel().expect("target");
        let (requests, receiver) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(receiver));
        *request.metadata_mut() = target.headers().expect("headers");
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let responses = client
            .delta_aggregated_resources(request)
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    pub async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests
            .send(request)
            .await
            .expect("the stream is open");
    }

    pub async fn next(&mut self) -> DeltaDiscoveryResponse {
        let response = tokio::time::timeout(Duration::from_secs(5), self.responses.message()).await;
        response
            .expect("a response within 5 s")
            .expect("no error")
            .expect("the stream is open")
    }

    pub async fn message(&mut self) -> Result<Option<DeltaDiscoveryResponse>, Status> {
        self.responses.message().await
    }

    /// Nothing arrives for a while.
    pub async fn quiet(&mut self) {
        let response =
            tokio::time::timeout(Duration::from_millis(300), self.responses.message()).await;
        assert!(response.is_err(), "{response:?}");
    }

    /// Asks for all of both types and takes both first answers.
    pub async fn wildcard(&mut self) -> (DeltaDiscoveryResponse, DeltaDiscoveryResponse) {
        self.send(subscribe(ADDRESS_TYPE, &[])).await;
        self.send(subscribe(AUTHORIZATION_TYPE, &[])).await;
        let policies = self.next().await;
        assert_eq!(policies.type_url, AUTHORIZATION_TYPE, "policies go first");
        (policies, self.next().await)
    }
}

pub fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    let mut names: Vec<&str> = response.resources.iter().map(|r| r.name.as_str()).collect();
    names.sort_unstable();
    names
}

const DENY: &str = "apiVersion: warren.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec: {action: DENY, selector: {matchLabels: {app: web}}, rules: [{}]}
";
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
";
const WEB: &str = "Kubernetes//Pod/shop/web-1";
const WEB_SERVICE: &str = "shop/web.shop.svc.cluster.local";

async fn shop() -> Controller {
    let pods = meshed("shop") + &pod("shop", "web-1", "web", "10.0.0.1", 8080);
    Controller::start(&[("pods.yaml", &pods), ("service.yaml", SERVICE)], &[]).await
}

#[tokio::test]
async fn wildcard_gets_everything_then_changes() {
    let controller = shop().await;
    let mut client = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    let (policies, addresses) = client.wildcard().await;
    assert_eq!(names(&policies), [""; 0]);
    assert_eq!(names(&addresses), [WEB, WEB_SERVICE]);
    assert!(addresses.resources.iter().all(|r| !r.version.is_empty()));
    assert!(!policies.nonce.is_empty() && policies.nonce != addresses.nonce);

    // The policy goes before the workload that names it.
    std::fs::write(controller.manifest("policy.yaml"), DENY).expect("file");
    let first = client.next().await;
    assert_eq!(
        (first.type_url.as_str(), names(&first)),
        (AUTHORIZATION_TYPE, vec!["shop/closed"])
    );
    let any = first.resources[0].resource.as_ref().expect("content");
    assert_eq!(
        unpack_policy("shop/closed", any)
            .expect("a policy")
            .key
            .to_string(),
        "shop/closed"
    );
    let second = client.next().await;
    assert_eq!(
        (second.type_url.as_str(), names(&second)),
        (ADDRESS_TYPE, vec![WEB])
    );

    // And is taken away after the workload that named it.
    std::fs::remove_file(controller.manifest("policy.yaml")).expect("remove");
    assert_eq!(client.next().await.type_url, ADDRESS_TYPE);
    let gone = client.next().await;
    assert_eq!(
        (gone.type_url.as_str(), gone.removed_resources),
        (AUTHORIZATION_TYPE, vec!["shop/closed".to_owned()])
    );
    client.quiet().await;
}

#[tokio::test]
async fn empty_answers_come_at_once() {
    let controller = Controller::start(&[], &[]).await;
    let mut client = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    let (policies, addresses) = client.wildcard().await;
    assert!(policies.resources.is_empty() && addresses.resources.is_empty());
    // A type that is not served does not keep its client waiting.
    client
        .send(subscribe("type.googleapis.com/some.Other", &[]))
        .await;
    let other = client.next().await;
    assert_eq!(
        (other.type_url.as_str(), other.resources.len()),
        ("type.googleapis.com/some.Other", 0)
    );
}

#[tokio::test]
async fn on_demand_answers_under_the_name_asked_for() {
    let controller = shop().await;
    let mut client = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    let mut first = subscribe(ADDRESS_TYPE, &["*"]);
    first.resource_names_unsubscribe = vec!["*".into()];
    client.send(subscribe(AUTHORIZATION_TYPE, &[])).await;
    client.next().await;
    client.send(first).await;
    assert!(client.next().await.resources.is_empty());

    client.send(subscribe(ADDRESS_TYPE, &["/10.0.0.1"])).await;
    assert_eq!(names(&client.next().await), ["/10.0.0.1"]);
    client
        .send(subscribe(ADDRESS_TYPE, &["/10.0.0.9", WEB]))
        .await;
    let answer = client.next().await;
    assert_eq!(
        (names(&answer), answer.removed_resources.clone()),
        (vec![WEB], vec!["/10.0.0.9".to_owned()])
    );
    // A service brings its endpoints.
    client.send(subscribe(ADDRESS_TYPE, &["/10.96.0.1"])).await;
    assert!(names(&client.next().await).contains(&"/10.96.0.1"));

    // What was not found before arrives when it comes, under the name asked for; endpoints of the service as well.
    let late = pod("shop", "web-2", "web", "10.0.0.9", 8080);
    std::fs::write(controller.manifest("late.yaml"), late).expect("file");
    let late = client.next().await;
    assert_eq!(names(&late), ["/10.0.0.9", "Kubernetes//Pod/shop/web-2"]);
    // What nobody asked for does not.
    let other = pod("shop", "db-1", "db", "10.0.0.7", 5432);
    std::fs::write(controller.manifest("other.yaml"), other).expect("file");
    client.quiet().await;
    std::fs::remove_file(controller.manifest("late.yaml")).expect("remove");
    let mut gone = client.next().await.removed_resources;
    gone.sort_unstable();
    assert_eq!(gone, ["/10.0.0.9", "Kubernetes//Pod/shop/web-2"]);
}

#[tokio::test]
async fn reconnect_skips_what_the_client_has_and_lists_what_vanished() {
    let mut controller = shop().await;
    let token = controller.issuer.tunnel("a");
    let mut client = Client::open(&controller, &token).await.expect("open");
    let (_, addresses) = client.wildcard().await;
    let mut versions: BTreeMap<String, String> = addresses
        .resources
        .into_iter()
        .map(|r| (r.name, r.version))
        .collect();
    drop(client);
    controller.restart(&[]).await;

    versions.insert("Kubernetes//Pod/shop/old".into(), "1".into());
    versions.insert(WEB_SERVICE.into(), String::new());
    let mut client = Client::open(&controller, &token).await.expect("open");
    client.send(subscribe(AUTHORIZATION_TYPE, &[])).await;
    client.next().await;
    let mut again = subscribe(ADDRESS_TYPE, &[]);
    again.initial_resource_versions = versions;
    client.send(again).await;
    let answer = client.next().await;
    assert_eq!(
        names(&answer),
        [WEB_SERVICE],
        "an empty version means: send it"
    );
    assert_eq!(answer.removed_resources, ["Kubernetes//Pod/shop/old"]);
}

#[tokio::test]
async fn acks_and_nacks_are_noted() {
    let controller = shop().await;
    let mut client = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    let (policies, addresses) = client.wildcard().await;
    let ack = DeltaDiscoveryRequest {
        type_url: AUTHORIZATION_TYPE.into(),
        response_nonce: policies.nonce,
        ..DeltaDiscoveryRequest::default()
    };
    let nack = DeltaDiscoveryRequest {
        type_url: ADDRESS_TYPE.into(),
        response_nonce: addresses.nonce,
        error_detail: Some(warren_api::r#gen::discovery::Status {
            code: 3,
            message: "no such colour".into(),
            details: Vec::new(),
        }),
        ..DeltaDiscoveryRequest::default()
    };
    client.send(ack).await;
    client.send(nack).await;
    client.quiet().await;
    let status = controller.status().await;
    assert_eq!(status.clients.len(), 1, "{status:?}");
    assert_eq!(status.clients[0].node, "a");
    assert_eq!(
        status.clients[0].last_nack.as_deref(),
        Some("no such colour")
    );
    assert!(
        controller.log().contains("no such colour"),
        "{}",
        controller.log()
    );
}

#[tokio::test]
async fn streams_need_a_token_of_the_mesh() {
    let controller = shop().await;
    let refused = |token: String| {
        let controller = &controller;
        async move {
            let status = Client::open(controller, &token)
                .await
                .err()
                .expect("refused");
            (status.code(), status.message().to_owned())
        }
    };
    let (code, message) = refused("x.y.z".into()).await;
    assert_eq!(code, Code::Unauthenticated, "{message}");
    let (code, message) = refused(controller.issuer.token("shop/web", "a", "web-1")).await;
    assert_eq!(code, Code::PermissionDenied, "{message}");
    assert!(
        message.contains("shop/web") && message.contains("--xds-clients"),
        "{message}"
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_costs_nothing_and_gets_the_latest_state() {
    let controller = shop().await;
    let mut slow = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    let mut quick = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    slow.wildcard().await;
    quick.wildcard().await;
    for port in 1..=20_u16 {
        let pods = pod("shop", "web-1", "web", "10.0.0.1", 8000 + port);
        std::fs::write(controller.manifest("pods.yaml"), meshed("shop") + &pods).expect("file");
        assert_eq!(names(&quick.next().await), [WEB]);
    }
    let mut last = None;
    while let Ok(response) = tokio::time::timeout(Duration::from_millis(300), slow.next()).await {
        last = Some(response);
    }
    let newest = last.expect("changes");
    let mut again = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    let (_, all) = again.wildcard().await;
    let version = |r: &DeltaDiscoveryResponse| {
        r.resources
            .iter()
            .find(|r| r.name == WEB)
            .map(|r| r.version.clone())
    };
    assert_eq!(version(&newest), version(&all));
}

#[tokio::test]
async fn termination_ends_streams_and_the_process() {
    let mut controller = shop().await;
    let mut client = Client::open(&controller, &controller.issuer.tunnel("a"))
        .await
        .expect("open");
    client.wildcard().await;
    assert!(controller.terminate().success(), "{}", controller.log());
    let end = client.responses.message().await;
    assert!(end.is_err_and(|s| s.code() == Code::Unavailable));
}
