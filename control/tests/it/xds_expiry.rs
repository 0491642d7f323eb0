//! A stream lives no longer than the token that opened it.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;
use warren_api::codec::AUTHORIZATION_TYPE;
use warren_api::r#gen::discovery::DeltaDiscoveryRequest;

use crate::support::process::Controller;
use crate::support::tokens::{claims, now};
use crate::xds::Client;

async fn subscribed(controller: &Controller, token: &str) -> Client {
    let mut client = Client::open(controller, token).await.expect("a stream");
    let policies = DeltaDiscoveryRequest {
        type_url: AUTHORIZATION_TYPE.into(),
        ..Default::default()
    };
    client.send(policies).await;
    client.next().await;
    client
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_a_fresh_one_opens_the_next() {
    let controller = Controller::start(&[], &[]).await;
    let mut expiring = claims("warren-system/warren-ztunnel", "a", "ztunnel-a");
    // Clocks may differ by 5 s: so this one is taken for 2 s more.
    expiring["exp"] = (now() - 3).into();
    let token = controller.issuer.sign(&expiring);
    let mut short = subscribed(&controller, &token).await;
    let mut long = subscribed(&controller, &controller.issuer.tunnel("b")).await;
    let ended = timeout(Duration::from_secs(4), short.message())
        .await
        .expect("it ends in time")
        .expect_err("with the reason");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    assert!(ended.message().contains("expired"), "{ended}");
    long.quiet().await;
    // Tokens count whole seconds.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = Client::open(&controller, &token).await.err();
    assert_eq!(refused.map(|e| e.code()), Some(Code::Unauthenticated));
    subscribed(&controller, &controller.issuer.tunnel("a")).await;
}
