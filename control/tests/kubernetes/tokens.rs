//! Tokens that the API server really issued, checked by asking it.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use tonic::{Code, Request, Status};
use warren_api::r#gen::ca::IstioCertificateRequest;
use warren_api::r#gen::ca::istio_certificate_service_client::IstioCertificateServiceClient;

use crate::support::SYSTEM;
use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::{account, apply, delete, namespace, node, pod, token};
use crate::support::tokens::{claims, now};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const DB: &str = "spiffe://cluster.local/ns/shop/sa/db";
const TUNNEL: &str = "warren-ztunnel";

/// Asks for a certificate as a tunnel does.
pub async fn ask(c: &Controller, token: &str, identity: &str) -> Result<Vec<String>, Status> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(identity.try_into().expect("ASCII"))];
    let kind = prost_types::value::Kind::StringValue(identity.to_owned());
    let fields = [(
        "ImpersonatedIdentity".to_owned(),
        prost_types::Value { kind: Some(kind) },
    )];
    let request = IstioCertificateRequest {
        csr: params
            .serialize_request(&key)
            .expect("CSR")
            .pem()
            .expect("PEM"),
        validity_duration: 3_600,
        metadata: Some(prost_types::Struct {
            fields: fields.into(),
        }),
    };
    let target = c.target(token);
    let channel = target.channel().expect("target");
    let mut client = IstioCertificateServiceClient::new(channel);
    let mut call = Request::new(request);
    *call.metadata_mut() = target.headers().expect("headers");
    Ok(client
        .create_certificate(call)
        .await?
        .into_inner()
        .cert_chain)
}

async fn refused(c: &Controller, token: &str, identity: &str, code: Code, part: &str) {
    let status = ask(c, token, identity)
        .await
        .expect_err("has to be refused");
    assert_eq!(status.code(), code, "{}", status.message());
    assert!(status.message().contains(part), "{}", status.message());
    assert!(c.log().contains("certificate refused"), "it is logged");
}

/// Pods web on node a and db on node b, and a tunnel on each.
pub async fn shop(client: &kube::Client) {
    let mut all = [namespace("shop"), node("a"), node("b")].concat();
    for (namespace, name) in [(SYSTEM, TUNNEL), ("shop", "web"), ("shop", "db")] {
        all += &account(namespace, name);
    }
    all += &pod("shop", "web-1", "web", "a", "10.0.0.1");
    all += &pod("shop", "db-1", "db", "b", "10.0.0.2");
    for (node, ip) in [("a", "10.0.1.1"), ("b", "10.0.1.2")] {
        all += &pod(SYSTEM, &format!("tunnel-{node}"), TUNNEL, node, ip);
    }
    apply(client, &all).await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_tunnel_gets_what_its_own_token_and_node_permit() {
    let (api, client) = ApiServer::installed(&[]).await;
    shop(&client).await;
    let c = Controller::start(&api, api.port, &[]).await;
    let a = token(&client, SYSTEM, TUNNEL, "tunnel-a", "warren-ca").await;

    let chain = ask(&c, &a, WEB).await.expect("issued");
    assert_eq!(chain.len(), 2, "leaf and root");
    ask(&c, &a, WEB).await.expect("issued again");
    refused(
        &c,
        &a,
        DB,
        Code::PermissionDenied,
        "no pod on node a runs as",
    )
    .await;
    let b = token(&client, SYSTEM, TUNNEL, "tunnel-b", "warren-ca").await;
    ask(&c, &b, DB).await.expect("issued");
    refused(
        &c,
        &b,
        WEB,
        Code::PermissionDenied,
        "no pod on node b runs as",
    )
    .await;

    let web = token(&client, "shop", "web", "web-1", "warren-ca").await;
    ask(&c, &web, WEB).await.expect("its own");
    refused(&c, &web, DB, Code::PermissionDenied, "only tunnels").await;

    // Once its pod is gone, a token is worth nothing, however long it would live.
    delete(&client, &pod(SYSTEM, "tunnel-b", TUNNEL, "b", "10.0.1.2")).await;
    eventually("the pod's end", async || {
        let left = c.workloads().await;
        (!left.contains(&format!("{SYSTEM}/tunnel-b"))).then_some(())
    })
    .await;
    refused(&c, &b, DB, Code::PermissionDenied, "is not known").await;
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn bad_tokens_are_refused_with_the_reason() {
    let (api, client) = ApiServer::installed(&[]).await;
    shop(&client).await;
    let c = Controller::start(&api, api.port, &[]).await;
    let code = Code::Unauthenticated;

    let other = token(&client, SYSTEM, TUNNEL, "tunnel-a", "somebody-else").await;
    refused(&c, &other, WEB, code, "audience").await;
    refused(&c, "nonsense", WEB, code, "not a JWT").await;
    refused(&c, &"x.".repeat(5_000), WEB, code, "too long").await;

    // Signed by the API server's own key, so that only the claim is wrong.
    let tunnel = format!("{SYSTEM}/{TUNNEL}");
    let mut expired = claims(&tunnel, "a", "tunnel-a");
    expired["exp"] = (now() - 60).into();
    refused(&c, &api.issuer.sign(&expired), WEB, code, "expired").await;
    let mut early = claims(&tunnel, "a", "tunnel-a");
    early["nbf"] = (now() + 600).into();
    refused(
        &c,
        &api.issuer.sign(&early),
        WEB,
        code,
        "the token is refused",
    )
    .await;
    let forged = claims(&tunnel, "a", "tunnel-a");
    refused(
        &c,
        &api.issuer.sign(&forged),
        WEB,
        code,
        "the token is refused",
    )
    .await;
    let foreign = crate::support::tokens::Issuer::new().sign(&forged);
    refused(&c, &foreign, WEB, code, "the token is refused").await;

    // A token of no pod.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), SYSTEM);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec!["warren-ca".into()]),
            expiration_seconds: Some(3_600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let params = PostParams::default();
    let answer = accounts
        .create_token_request(TUNNEL, &params, &request)
        .await;
    let unbound = answer.expect("a token").status.expect("status").token;
    let unbound = unbound.expect("text");
    refused(&c, &unbound, WEB, code, "names no pod").await;
}

/// The API server away: what is known serves, what has to be asked is unavailable, and not "refused".
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn tokens_wait_for_the_api_server() {
    let (mut api, client) = ApiServer::installed(&[]).await;
    shop(&client).await;
    let c = Controller::start(&api, api.port, &[]).await;
    let a = token(&client, SYSTEM, TUNNEL, "tunnel-a", "warren-ca").await;
    let b = token(&client, SYSTEM, TUNNEL, "tunnel-b", "warren-ca").await;
    ask(&c, &a, WEB).await.expect("issued");
    api.kill();
    ask(&c, &a, WEB).await.expect("the answer of a moment ago");
    refused(
        &c,
        &b,
        DB,
        Code::Unavailable,
        "the API server cannot check the token",
    )
    .await;
    api.run().await;
    ask(&c, &b, DB).await.expect("issued");
}
