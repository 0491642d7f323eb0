//! Policies that the client cannot read.

use prost::Message;
use prost_types::Any;
use warren_api::codec::AUTHORIZATION_TYPE;
use warren_api::r#gen::discovery::DeltaDiscoveryResponse;
use warren_api::r#gen::security::{Authorization, Scope};
use warren_api::xds::{Client, Mode};
use warren_core::policy::{PolicyKey, PolicyScope};

use super::bench::{Bench, next, policies, policy, resource, start};

fn garbage() -> Any {
    Any {
        type_url: AUTHORIZATION_TYPE.into(),
        value: vec![0xff; 9],
    }
}

/// An action that nobody knows, in a scope that is known.
fn of_scope(scope: Scope) -> Any {
    let message = Authorization {
        name: "new".into(),
        namespace: "shop".into(),
        scope: scope.into(),
        action: 77,
        ..Default::default()
    };
    Any {
        type_url: AUTHORIZATION_TYPE.into(),
        value: message.encode_to_vec(),
    }
}

#[tokio::test]
async fn a_policy_that_was_never_readable_closes_what_it_may_cover() {
    let mut bench = Bench::new().await;
    let (client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let mut stream = bench.stream().await;
    stream.first_requests().await;
    let sent = vec![
        resource("shop/garbled/ports/80", "1", garbage()),
        resource("warren-system/garbled", "1", garbage()),
        resource("garbled", "1", garbage()),
        resource("shop/selected", "1", of_scope(Scope::WorkloadSelector)),
        resource("shop/wide", "1", of_scope(Scope::Namespace)),
        resource("other/global", "1", of_scope(Scope::Global)),
    ];
    stream.respond(policies("p1", sent)).await;
    let update = next(&mut updates).await;
    assert!(update.policies_synced && update.readable.is_empty());
    let expected = [
        ("shop", "garbled/ports/80", PolicyScope::Namespace),
        ("warren-system", "garbled", PolicyScope::Mesh),
        ("", "garbled", PolicyScope::Mesh),
        ("shop", "selected", PolicyScope::Selector),
        ("shop", "wide", PolicyScope::Namespace),
        ("other", "global", PolicyScope::Mesh),
    ];
    let expected = expected.map(|(ns, name, scope)| (PolicyKey::new(ns, name), scope));
    assert_eq!(update.unreadable, expected);
    assert!(stream.request().await.error_detail.is_some());
    let closes = client.status().closes("shop/wide").expect("told");
    assert!(closes.contains("namespace shop"), "{closes}");

    // Told once; a good version, or its end, opens again.
    let response = DeltaDiscoveryResponse {
        removed_resources: vec!["garbled".into()],
        ..policies(
            "p2",
            vec![
                resource("shop/garbled/ports/80", "2", garbage()),
                policy("wide", "2"),
            ],
        )
    };
    stream.respond(response).await;
    let update = next(&mut updates).await;
    assert!(update.unreadable.is_empty(), "{:?}", update.unreadable);
    assert_eq!(
        update.readable,
        [
            PolicyKey::new("shop", "wide"),
            PolicyKey::new("", "garbled")
        ]
    );
    assert_eq!(client.status().closes("shop/wide"), None);
}

#[tokio::test]
async fn a_policy_that_was_readable_once_stays_as_it_was() {
    let mut bench = Bench::new().await;
    let (client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let mut stream = bench.stream().await;
    stream.first_requests().await;
    stream
        .respond(policies("p1", vec![policy("deny", "1")]))
        .await;
    assert_eq!(next(&mut updates).await.policies.len(), 1);
    stream
        .respond(policies("p2", vec![resource("shop/deny", "2", garbage())]))
        .await;
    let update = next(&mut updates).await;
    assert_eq!((update.unreadable.len(), update.rejected.len()), (0, 1));
    assert_eq!(client.status().closes("shop/deny"), None);
}

#[tokio::test]
async fn a_controller_is_asked_about_unreadable_policies_when_it_is_back() {
    let mut bench = Bench::new().await;
    let (_client, mut updates) = Client::new(bench.config(Mode::Wildcard));
    let mut stream = bench.stream().await;
    stream.first_requests().await;
    let garbled = resource("shop/garbled", "1", garbage());
    stream.respond(policies("p1", vec![garbled])).await;
    next(&mut updates).await;
    bench.server.abort();
    drop(stream);
    let ended = (&mut bench.server).await;
    assert!(ended.is_err(), "it listens no more");
    let (_, server, streams) = start(&bench.trust, &bench.address.to_string()).await;
    (bench.server, bench.streams) = (server, streams);
    let mut stream = bench.stream().await;
    let [first, _] = stream.first_requests().await;
    assert_eq!(first.initial_resource_versions["shop/garbled"], "");
    let gone = DeltaDiscoveryResponse {
        removed_resources: vec!["shop/garbled".into()],
        ..policies("p1", Vec::new())
    };
    stream.respond(gone).await;
    let update = next(&mut updates).await;
    assert_eq!(update.readable, [PolicyKey::new("shop", "garbled")]);
}
