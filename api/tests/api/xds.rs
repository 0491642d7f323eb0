//! The xDS client against a scripted controller.

use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};
use tonic::service::Routes;
use warren_api::codec::ADDRESS_TYPE;
use warren_api::r#gen::discovery::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use warren_api::r#gen::discovery::{DeltaDiscoveryResponse, Resource};
use warren_api::xds::{Client, Config, DemandError, Mode};

use crate::server::{Trust, serve};
use bench::{Ads, Bench, LIMIT, addresses, next, policies, policy, start, workload};

mod bench;
mod unreadable;

#[tokio::test]
async fn first_sync_is_acknowledged_policies_first() {
    let mut bench = Bench::new().await;
    let (client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let mut stream = bench.stream().await;
    assert_eq!(
        stream.headers.get("authorization").expect("a token"),
        "Bearer first-token"
    );
    assert_eq!(
        stream.headers.get("clusterid").expect("a cluster"),
        "Kubernetes"
    );
    let [first, second] = stream.first_requests().await;
    for request in [&first, &second] {
        let node = request
            .node
            .as_ref()
            .expect("the node in each type's first request");
        assert_eq!(
            node.id,
            "ztunnel~10.9.0.1~ztunnel-x.warren-system~warren-system.svc.cluster.local"
        );
        let fields = &node.metadata.as_ref().expect("metadata").fields;
        for key in ["NAME", "NAMESPACE", "INSTANCE_IPS", "NODE_NAME", "EXTRA"] {
            assert!(fields.contains_key(key), "{key}");
        }
        assert!(
            request.resource_names_subscribe.is_empty()
                && request.initial_resource_versions.is_empty()
        );
    }

    // Addresses that come first still reach the reader after the policies.
    let more = DeltaDiscoveryResponse {
        more: true,
        ..addresses("a1", vec![workload("web", [10, 0, 0, 1], "1")], &[])
    };
    stream.respond(more).await;
    stream
        .respond(policies("p1", vec![policy("deny", "1")]))
        .await;
    let update = next(&mut updates).await;
    assert_eq!((update.policies.len(), update.workloads.len()), (1, 0));
    assert!(update.policies_synced && !update.addresses_synced);
    let update = next(&mut updates).await;
    assert_eq!(
        (update.workloads.len(), update.addresses_synced),
        (1, false),
        "more was announced"
    );
    stream
        .respond(addresses(
            "a2",
            vec![workload("db", [10, 0, 0, 2], "1")],
            &[],
        ))
        .await;
    let update = next(&mut updates).await;
    assert_eq!((update.workloads.len(), update.addresses_synced), (1, true));
    drop(update);

    let mut nonces = Vec::new();
    for _ in 0..3 {
        let ack = stream.request().await;
        assert!(ack.error_detail.is_none() && ack.node.is_none());
        nonces.push(ack.response_nonce);
    }
    assert_eq!(nonces, ["p1", "a1", "a2"]);
    let status = client.status();
    assert_eq!(
        (
            status.workloads,
            status.policies,
            status.services,
            status.nacks
        ),
        (2, 1, 0, 0)
    );
    assert!(status.connected_since.is_some() && status.policies_synced && status.addresses_synced);
    client
        .demand("/10.0.0.9")
        .await
        .expect("everything is known in wildcard mode");
}

#[tokio::test]
async fn bad_resources_are_refused_alone() {
    let mut bench = Bench::new().await;
    let (client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let mut stream = bench.stream().await;
    stream.first_requests().await;
    stream.respond(policies("p1", Vec::new())).await;
    assert!(next(&mut updates).await.policies_synced);
    stream.request().await;

    let mut bad = workload("bad", [10, 0, 0, 3], "1");
    bad.resource = Some(prost_types::Any {
        type_url: ADDRESS_TYPE.into(),
        value: vec![0xff; 9],
    });
    let missing = Resource {
        name: "shop/nothing".into(),
        ..Default::default()
    };
    let good = workload("web", [10, 0, 0, 1], "1");
    stream
        .respond(addresses("a1", vec![bad, missing, good], &[]))
        .await;
    let update = next(&mut updates).await;
    assert_eq!((update.workloads.len(), update.rejected.len()), (1, 2));
    let nack = stream.request().await;
    assert_eq!(nack.response_nonce, "a1");
    let detail = nack.error_detail.expect("a NACK");
    assert_eq!(detail.code, 3);
    assert!(
        detail.message.contains("Kubernetes//Pod/shop/bad"),
        "{}",
        detail.message
    );
    assert!(
        detail.message.contains("shop/nothing"),
        "{}",
        detail.message
    );
    assert_eq!(
        (client.status().rejected.len(), client.status().nacks),
        (2, 1)
    );

    // A good version, or its end, clears the record.
    stream
        .respond(addresses(
            "a2",
            vec![workload("bad", [10, 0, 0, 3], "2")],
            &["shop/nothing"],
        ))
        .await;
    assert_eq!(next(&mut updates).await.workloads.len(), 1);
    assert!(stream.request().await.error_detail.is_none());
    assert!(client.status().rejected.is_empty());
}

#[tokio::test]
async fn reconnects_with_versions_and_removes_what_vanished() {
    let mut bench = Bench::new().await;
    let (client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let mut stream = bench.stream().await;
    stream.first_requests().await;
    stream
        .respond(policies("p1", vec![policy("deny", "7")]))
        .await;
    let both = vec![
        workload("web", [10, 0, 0, 1], "1"),
        workload("db", [10, 0, 0, 2], "2"),
    ];
    stream.respond(addresses("a1", both, &[])).await;
    next(&mut updates).await;
    next(&mut updates).await;

    // The controller restarts: another process at the same address, a rotated token.
    bench.server.abort();
    drop(stream);
    sleep(Duration::from_millis(300)).await;
    let status = client.status();
    assert!(status.connected_since.is_none() && status.last_error.is_some());
    assert_eq!(status.workloads, 2, "what is known stays");
    std::fs::write(bench.trust.token_path(), "second-token").expect("write");
    let (_, server, streams) = start(&bench.trust, &bench.address.to_string()).await;
    (bench.server, bench.streams) = (server, streams);

    let mut stream = bench.stream().await;
    assert_eq!(
        stream.headers.get("authorization").expect("a token"),
        "Bearer second-token"
    );
    let [first, second] = stream.first_requests().await;
    assert_eq!(first.initial_resource_versions["shop/deny"], "7");
    assert_eq!(second.initial_resource_versions.len(), 2);
    assert_eq!(
        second.initial_resource_versions["Kubernetes//Pod/shop/db"],
        "2"
    );
    stream.respond(policies("p1", Vec::new())).await;
    stream
        .respond(addresses("a1", Vec::new(), &["Kubernetes//Pod/shop/db"]))
        .await;
    let update = next(&mut updates).await;
    assert!(update.removed_policies.is_empty() && update.policies.is_empty());
    let update = next(&mut updates).await;
    assert_eq!(update.removed_workloads.len(), 1);
    assert_eq!(&*update.removed_workloads[0].0, "Kubernetes//Pod/shop/db");
    assert_eq!(
        (client.status().workloads, client.status().connects),
        (1, 2)
    );
}

#[tokio::test]
async fn an_object_lives_while_it_has_a_name() {
    let mut bench = Bench::new().await;
    let (_client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let mut stream = bench.stream().await;
    stream.first_requests().await;
    stream.respond(policies("p1", Vec::new())).await;
    next(&mut updates).await;
    let by_ip = Resource {
        name: "/10.0.0.1".into(),
        ..workload("web", [10, 0, 0, 1], "1")
    };
    stream
        .respond(addresses(
            "a1",
            vec![workload("web", [10, 0, 0, 1], "1"), by_ip],
            &[],
        ))
        .await;
    assert_eq!(next(&mut updates).await.workloads.len(), 2);
    stream
        .respond(addresses(
            "a2",
            Vec::new(),
            &["Kubernetes//Pod/shop/web", "unheard/of"],
        ))
        .await;
    assert!(
        next(&mut updates).await.removed_workloads.is_empty(),
        "it still has its address"
    );
    // The address passes to another workload: the first one has no name left.
    let moved = Resource {
        name: "/10.0.0.1".into(),
        ..workload("db", [10, 0, 0, 1], "1")
    };
    stream.respond(addresses("a3", vec![moved], &[])).await;
    let update = next(&mut updates).await;
    assert_eq!(
        (update.workloads.len(), update.removed_workloads.len()),
        (1, 1)
    );
}

#[tokio::test]
async fn on_demand() {
    let mut bench = Bench::new().await;
    let config = Config {
        demand_limit: Duration::from_secs(2),
        ..bench.config(Mode::OnDemand)
    };
    let (client, mut updates) = Client::new(config);
    let mut stream = bench.stream().await;
    let [_, second] = stream.first_requests().await;
    assert_eq!(
        (
            &*second.resource_names_subscribe,
            &*second.resource_names_unsubscribe
        ),
        (&["*".to_owned()][..], &["*".to_owned()][..])
    );
    stream.respond(policies("p1", Vec::new())).await;
    drop(next(&mut updates).await);
    stream.request().await;

    let asking = client.clone();
    let asked = tokio::spawn(async move { asking.demand("/10.0.0.1").await });
    assert_eq!(
        stream.request().await.resource_names_subscribe,
        ["/10.0.0.1"]
    );
    let found = Resource {
        name: "/10.0.0.1".into(),
        ..workload("web", [10, 0, 0, 1], "1")
    };
    stream.respond(addresses("a1", vec![found], &[])).await;
    let update = next(&mut updates).await;
    assert_eq!(update.workloads.len(), 1);
    sleep(Duration::from_millis(50)).await;
    assert!(!asked.is_finished(), "the update was not applied yet");
    drop(update);
    timeout(LIMIT, asked)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("found");
    stream.request().await;

    let asking = client.clone();
    let asked = tokio::spawn(async move { asking.demand("shop/none.example").await });
    assert_eq!(
        stream.request().await.resource_names_subscribe,
        ["shop/none.example"]
    );
    stream
        .respond(addresses("a2", Vec::new(), &["shop/none.example"]))
        .await;
    drop(next(&mut updates).await);
    timeout(LIMIT, asked)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("absence is an answer");
    stream.request().await;

    let error = client
        .demand("/10.0.0.77")
        .await
        .expect_err("never answered");
    assert!(matches!(error, DemandError::TimedOut { .. }), "{error}");

    // Known names are answered while the controller is away, and asked for again when it is back.
    bench.server.abort();
    drop(stream);
    sleep(Duration::from_millis(100)).await;
    client.demand("/10.0.0.1").await.expect("known");
    let (_, server, streams) = start(&bench.trust, &bench.address.to_string()).await;
    (bench.server, bench.streams) = (server, streams);
    let [_, mut second] = bench.stream().await.first_requests().await;
    second.resource_names_subscribe.sort_unstable();
    assert_eq!(
        second.resource_names_subscribe,
        ["*", "/10.0.0.1", "/10.0.0.77", "shop/none.example"]
    );
    assert_eq!(second.initial_resource_versions["/10.0.0.1"], "1");
}

#[tokio::test]
async fn untrusted_servers_are_refused() {
    let trust = Trust::new();
    let (sender, mut streams) = mpsc::channel(16);
    let ads = AggregatedDiscoveryServiceServer::new(Ads {
        streams: Mutex::new(sender),
    });
    let (address, server) = serve(&trust, "127.0.0.1:0", "other.example", Routes::new(ads)).await;
    let (sender, _unused) = mpsc::channel(1);
    drop(sender);
    let bench = Bench {
        trust,
        address,
        server,
        streams: _unused,
    };
    let (client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let error = wait_for_error(&client).await;
    assert!(error.contains("certificate"), "{error}");

    std::fs::remove_file(bench.trust.root_path()).expect("remove");
    let missing = timeout(LIMIT, async {
        while !client
            .status()
            .last_error
            .unwrap_or_default()
            .contains("root.pem")
        {
            sleep(Duration::from_millis(20)).await;
        }
    });
    missing.await.expect("the missing file is named");
    assert!(streams.try_recv().is_err() && updates.try_recv().is_err());
    bench.server.abort();
}

#[tokio::test]
async fn ends_with_its_reader() {
    let bench = Bench::new().await;
    let (client, updates) = Client::new(bench.config(Mode::OnDemand));
    drop(updates);
    let ended = timeout(LIMIT, async {
        while client.demand("x").await != Err(DemandError::Ended) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    ended.await.expect("the client ends");
}

async fn wait_for_error(client: &Client) -> String {
    let error = timeout(LIMIT, async {
        loop {
            if let Some(error) = client.status().last_error {
                return error;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    error.await.expect("an error in time")
}
