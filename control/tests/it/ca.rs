//! The CA: what it issues, and every refusal.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::{Struct, Value, value::Kind};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tonic::{Code, Request, Status};
use warren_api::r#gen::ca::IstioCertificateRequest;
use warren_api::r#gen::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::support::model::{meshed, pod};
use crate::support::process::Controller;
use crate::support::tokens::{Issuer, claims, now};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const DB: &str = "spiffe://cluster.local/ns/shop/sa/db";

/// web on node a, db on node b, and the tunnels of both nodes.
async fn controller(flags: &[&str]) -> Controller {
    let web = pod("shop", "web-1", "web", "10.0.0.1", 80);
    let db = pod("shop", "db-1", "db", "10.0.0.2", 80).replace("nodeName: a", "nodeName: b");
    let tunnel = |node: &str| {
        pod(
            "warren-system",
            &format!("ztunnel-{node}"),
            "warren-ztunnel",
            &format!("10.0.1.{}", node.len()),
            15021,
        )
        .replace("nodeName: a", &format!("nodeName: {node}"))
        .replace("  nodeName", "  hostNetwork: true\n  nodeName")
    };
    let text = [meshed("shop"), web, db, tunnel("a"), tunnel("b")].concat();
    Controller::start(&[("all.yaml", &text)], flags).await
}

fn csr_with(key: &KeyPair, uris: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris
        .iter()
        .map(|u| SanType::URI((*u).try_into().expect("ASCII")))
        .collect();
    params
        .serialize_request(key)
        .expect("CSR")
        .pem()
        .expect("PEM")
}

fn csr(identity: &str) -> String {
    csr_with(
        &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key"),
        &[identity],
    )
}

fn request(csr: String, identity: Option<&str>, seconds: i64) -> IstioCertificateRequest {
    let metadata = identity.map(|id| Struct {
        fields: BTreeMap::from([(
            "ImpersonatedIdentity".to_owned(),
            Value {
                kind: Some(Kind::StringValue(id.to_owned())),
            },
        )]),
    });
    IstioCertificateRequest {
        csr,
        validity_duration: seconds,
        metadata,
    }
}

async fn ask(
    controller: &Controller,
    token: &str,
    request: IstioCertificateRequest,
) -> Result<Vec<String>, Status> {
    let target = controller.target(token);
    let mut client = IstioCertificateServiceClient::new(target.channel().expect("target"));
    let mut call = Request::new(request);
    *call.metadata_mut() = target.headers().expect("headers");
    Ok(client
        .create_certificate(call)
        .await?
        .into_inner()
        .cert_chain)
}

async fn refusal(
    controller: &Controller,
    token: &str,
    request: IstioCertificateRequest,
) -> (Code, String) {
    let status = ask(controller, token, request)
        .await
        .expect_err("has to be refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn a_tunnel_gets_certificates_for_the_pods_of_its_node() {
    let c = controller(&["--cert-ttl", "90s"]).await;
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ] {
        let csr = csr_with(&KeyPair::generate_for(algorithm).expect("key"), &[WEB]);
        let chain = ask(&c, &c.issuer.tunnel("a"), request(csr, Some(WEB), 86_400))
            .await
            .expect("issued");
        assert_eq!(chain.len(), 2, "leaf and root");
        assert_eq!(chain[1], std::fs::read_to_string(c.root()).expect("root"));
        let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).expect("PEM");
        let root = CertificateDer::from_pem_slice(chain[1].as_bytes()).expect("PEM");
        let (_, leaf) = X509Certificate::from_der(&der).expect("certificate");
        let (_, root) = X509Certificate::from_der(&root).expect("certificate");
        leaf.verify_signature(Some(root.public_key()))
            .expect("signed by the root");
        let sans = leaf
            .subject_alternative_name()
            .expect("readable")
            .expect("there");
        assert_eq!(sans.value.general_names, [GeneralName::URI(WEB)]);
        assert!(!leaf.is_ca());
        let (from, until) = (
            leaf.validity().not_before.timestamp(),
            leaf.validity().not_after.timestamp(),
        );
        assert!((115..=130).contains(&(now() - from)), "backdated");
        let root_from = root.validity().not_before.timestamp();
        assert!((115..=180).contains(&(now() - root_from)), "backdated");
        assert!((80..=90).contains(&(until - now())), "capped by --cert-ttl");
    }
    let short = ask(&c, &c.issuer.tunnel("a"), request(csr(WEB), Some(WEB), 5))
        .await
        .expect("issued");
    let der = CertificateDer::from_pem_slice(short[0].as_bytes()).expect("PEM");
    let (_, leaf) = X509Certificate::from_der(&der).expect("certificate");
    assert!(
        leaf.validity().not_after.timestamp() - now() <= 5,
        "the shorter life asked for"
    );
}

#[tokio::test]
async fn a_pod_gets_its_own_certificate_only() {
    let c = controller(&[]).await;
    let token = c.issuer.token("shop/web", "a", "web-1");
    ask(&c, &token, request(csr(WEB), None, 60))
        .await
        .expect("its own");
    ask(&c, &token, request(csr(WEB), Some(WEB), 60))
        .await
        .expect("its own, named");
    let other = pod("shop", "other-1", "other", "10.0.0.5", 80);
    std::fs::write(c.manifest("other.yaml"), other).expect("file");
    let identity = "spiffe://cluster.local/ns/shop/sa/other";
    let (code, message) = refusal(&c, &token, request(csr(identity), Some(identity), 60)).await;
    assert_eq!(code, Code::PermissionDenied);
    assert!(message.contains("only tunnels"), "{message}");
}

#[tokio::test]
async fn identities_of_other_nodes_and_meshes_are_refused() {
    let c = controller(&[]).await;
    let a = c.issuer.tunnel("a");
    let (code, message) = refusal(&c, &a, request(csr(DB), Some(DB), 60)).await;
    assert_eq!(code, Code::PermissionDenied, "{message}");
    assert!(message.contains("no pod on node a runs as"), "{message}");
    ask(&c, &c.issuer.tunnel("b"), request(csr(DB), Some(DB), 60))
        .await
        .expect("its own node");
    for (identity, part) in [
        ("spiffe://elsewhere/ns/shop/sa/web", "another trust domain"),
        ("spiffe://cluster.local/shop/web", "not a workload identity"),
        ("", "not a workload identity"),
    ] {
        let (code, message) = refusal(&c, &a, request(csr(WEB), Some(identity), 60)).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(message.contains(part), "{message}");
    }
    // The pod ends: its tunnel gets no more certificates for it.
    let web =
        pod("shop", "web-1", "web", "10.0.0.1", 80).replace("phase: Running", "phase: Succeeded");
    let rest = std::fs::read_to_string(c.manifest("all.yaml")).expect("file");
    let running = pod("shop", "web-1", "web", "10.0.0.1", 80);
    std::fs::write(c.manifest("all.yaml"), rest.replace(&running, &web)).expect("file");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        refusal(&c, &a, request(csr(WEB), Some(WEB), 60)).await.0,
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn tokens_have_to_be_the_platforms_own() {
    let c = controller(&[]).await;
    let account = "warren-system/warren-ztunnel";
    let good = || claims(account, "a", "ztunnel-a");
    let with = |path: &str, value: serde_json::Value| {
        let mut claims = good();
        *claims.pointer_mut(path).expect("a claim") = value;
        c.issuer.sign(&claims)
    };
    let cases = [
        (with("/aud", json!(["vault"])), "claim aud"),
        (with("/iss", json!("https://evil.test")), "claim iss"),
        (with("/exp", json!(now() - 60)), "claim exp"),
        (with("/nbf", json!(now() + 600)), "claim nbf"),
        (
            with("/sub", json!("system:serviceaccount:shop:web")),
            "claim sub",
        ),
        (with("/kubernetes.io/node", json!(null)), "names no node"),
        (with("/kubernetes.io/pod", json!(null)), "names no pod"),
        (with("/kubernetes.io", json!(null)), "claim kubernetes.io"),
        (Issuer::new().sign(&good()), "signature"),
        ("nonsense".to_owned(), "not a JWT"),
    ];
    for (token, part) in cases {
        let (code, message) = refusal(&c, &token, request(csr(WEB), Some(WEB), 60)).await;
        assert_eq!(code, Code::Unauthenticated, "{part}: {message}");
        assert!(message.contains(part), "{part}: {message}");
    }
    let (code, message) = refusal(&c, "", request(csr(WEB), Some(WEB), 60)).await;
    assert_eq!(
        (code, message.contains("no bearer token")),
        (Code::Unauthenticated, true),
        "{message}"
    );
    // The stock audience is taken as well.
    ask(
        &c,
        &with("/aud", json!(["istio-ca"])),
        request(csr(WEB), Some(WEB), 60),
    )
    .await
    .expect("issued");
}

/// RS256 is what most clusters sign with, and issuers rotate their keys.
#[tokio::test]
async fn the_issuers_keys_may_change_while_the_controller_runs() {
    let c = controller(&[]).await;
    ask(&c, &c.issuer.tunnel("a"), request(csr(WEB), Some(WEB), 60))
        .await
        .expect("issued");
    let next = Issuer::rsa();
    std::fs::write(c.dir.path().join("jwks.json"), next.jwks()).expect("file");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    ask(&c, &next.tunnel("a"), request(csr(WEB), Some(WEB), 60))
        .await
        .expect("issued");
    let (code, message) =
        refusal(&c, &c.issuer.tunnel("a"), request(csr(WEB), Some(WEB), 60)).await;
    assert_eq!(code, Code::Unauthenticated, "{message}");
    // A broken file leaves the keys known so far.
    std::fs::write(c.dir.path().join("jwks.json"), "{").expect("file");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    ask(&c, &next.tunnel("a"), request(csr(WEB), Some(WEB), 60))
        .await
        .expect("issued");
}

#[tokio::test]
async fn the_tokens_pod_has_to_be_where_the_token_says() {
    let c = controller(&[]).await;
    let account = "warren-system/warren-ztunnel";
    let cases = [
        (
            c.issuer.token(account, "b", "ztunnel-a"),
            "is on node a, not on b",
        ),
        (c.issuer.token(account, "a", "ztunnel-gone"), "is not known"),
        (
            c.issuer
                .token("warren-system/warren-agent", "a", "ztunnel-a"),
            "runs as warren-ztunnel",
        ),
    ];
    for (token, part) in cases {
        let (code, message) = refusal(&c, &token, request(csr(WEB), Some(WEB), 60)).await;
        assert_eq!(code, Code::PermissionDenied, "{part}: {message}");
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test]
async fn requests_have_to_name_the_identity_and_nothing_else() {
    let c = controller(&[]).await;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let mut broken = csr(WEB);
    let at = broken.len() / 2;
    let other = if &broken[at..=at] == "A" { "B" } else { "A" };
    broken.replace_range(at..=at, other);
    let cases = [
        (csr(DB), "exactly one URI"),
        (csr_with(&key, &[]), "it names nothing"),
        (csr_with(&key, &[WEB, DB]), "exactly one URI"),
        (broken, "cannot be taken"),
        ("-----BEGIN NONSENSE-----".to_owned(), "cannot be taken"),
        (String::new(), "cannot be taken"),
    ];
    for (csr, part) in cases {
        let (code, message) = refusal(&c, &c.issuer.tunnel("a"), request(csr, Some(WEB), 60)).await;
        assert_eq!(code, Code::InvalidArgument, "{part}: {message}");
        assert!(message.contains(part), "{part}: {message}");
    }
    let metrics = c.metrics().await;
    assert!(
        metrics.contains("warren_control_certificates_refused_total{reason=\"csr\"} 6"),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_root_outlives_restarts_and_the_key_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut c = controller(&[]).await;
    let root = std::fs::read_to_string(c.root()).expect("root");
    c.restart(&[]).await;
    assert_eq!(std::fs::read_to_string(c.root()).expect("root"), root);
    let key = c.dir.path().join("state/ca-key.pem");
    assert_eq!(
        std::fs::metadata(&key).expect("key").permissions().mode() & 0o777,
        0o600
    );
    ask(&c, &c.issuer.tunnel("a"), request(csr(WEB), Some(WEB), 60))
        .await
        .expect("issued");
}
