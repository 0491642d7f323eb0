//! The CA in its Secret: kept, put back, changed, given.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::objects::{apply, namespace, token};
use crate::support::tokens;
use crate::support::{SYSTEM, eventually};
use crate::tokens::{ask, shop};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn roots(pem: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.map(|c| c.expect("a certificate")).collect()
}

/// Whether a chain's leaf was signed by this root.
fn signed_by(chain: &[String], root: &CertificateDer<'_>) -> bool {
    let leaf = CertificateDer::from_pem_slice(chain[0].as_bytes()).expect("PEM");
    let (_, leaf) = X509Certificate::from_der(&leaf).expect("DER");
    let (_, root) = X509Certificate::from_der(root).expect("DER");
    leaf.verify_signature(Some(root.public_key())).is_ok()
}

async fn bundle(client: &kube::Client) -> Option<String> {
    bundle_in(client, SYSTEM).await
}

async fn bundle_in(client: &kube::Client, namespace: &str) -> Option<String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api.get_opt("warren-ca-root").await.expect("an answer")?;
    map.data?.get("root-cert.pem").cloned()
}

async fn rotate(client: &kube::Client) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let patch = json!({"metadata": {"annotations": {"warren.dev/rotate-root": "now"}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    let done = secrets.patch("warren-ca", &params, &patch);
    done.await.expect("annotated");
}

/// With the rights that the chart gives in such a namespace; one without them gets nothing.
#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn further_namespaces_get_the_roots() {
    let (api, client) = ApiServer::installed(&[]).await;
    let rights = include_str!("../../../deploy/charts/mesh/files/roots-rbac.yaml");
    apply(
        &client,
        &[namespace("trusting"), namespace("other")].concat(),
    )
    .await;
    apply(&client, rights).await;
    let flag = "--root-configmap-namespaces";
    let flags = [flag, "trusting", flag, "other"];
    let c = Controller::start(&api, api.port, &flags).await;
    let own = eventually("the roots", async || bundle(&client).await).await;
    let there = async || bundle_in(&client, "trusting").await;
    assert_eq!(eventually("the roots there", there).await, own);
    eventually("the refusal", async || {
        c.log()
            .contains("ConfigMap other/warren-ca-root: ")
            .then_some(())
    })
    .await;
    assert_eq!(bundle_in(&client, "other").await, None);
    // Written again and again, which is a patch of what exists.
    let log = c.log();
    assert!(!log.contains("ConfigMap trusting/"), "{log}");
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn the_root_changes_without_a_gap() {
    let (api, client) = ApiServer::installed(&[]).await;
    shop(&client).await;
    let flags = ["--cert-ttl", "8s", "--root-overlap", "8s"];
    let a = Controller::start(&api, api.port, &flags).await;
    let b = Controller::start(&api, api.port, &flags).await;
    let first = eventually("the roots", async || bundle(&client).await).await;
    let old = roots(&first).remove(0);
    let tunnel = token(&client, SYSTEM, "warren-ztunnel", "tunnel-a", "warren-ca").await;
    assert!(signed_by(
        &ask(&a, &tunnel, WEB).await.expect("issued"),
        &old
    ));

    rotate(&client).await;
    let both = eventually("both roots", async || {
        bundle(&client).await.filter(|b| roots(b).len() == 2)
    })
    .await;
    let new = roots(&both)
        .into_iter()
        .find(|r| *r != old)
        .expect("another");
    // The bundle comes before the first certificate of the new root, by both replicas.
    for c in [&a, &b] {
        assert!(signed_by(
            &ask(c, &tunnel, WEB).await.expect("issued"),
            &old
        ));
    }
    for c in [&a, &b] {
        eventually("a certificate of the new root", async || {
            let chain = ask(c, &tunnel, WEB).await.expect("issued all the time");
            let trusted = roots(chain.last().expect("roots"));
            assert!(trusted.contains(&new));
            signed_by(&chain, &new).then_some(())
        })
        .await;
    }
    assert_eq!(
        roots(&bundle(&client).await.expect("a bundle")).len(),
        2,
        "the old one is still trusted"
    );
    let last = eventually("the end", async || {
        bundle(&client).await.filter(|b| roots(b).len() == 1)
    })
    .await;
    assert_eq!(roots(&last), [new]);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let annotations = secrets
        .get("warren-ca")
        .await
        .expect("Secret")
        .metadata
        .annotations;
    assert!(annotations.unwrap_or_default().is_empty());
    ask(&b, &tunnel, WEB).await.expect("issued");
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn a_deleted_secret_is_put_back_and_a_given_ca_taken() {
    let (api, client) = ApiServer::installed(&[]).await;
    shop(&client).await;
    let c = Controller::start(&api, api.port, &[]).await;
    let before = eventually("the roots", async || bundle(&client).await).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let kept = secrets.get("warren-ca").await.expect("Secret").data;
    secrets
        .delete("warren-ca", &DeleteParams::default())
        .await
        .expect("deleted");
    let back = eventually("the Secret", async || {
        secrets.get_opt("warren-ca").await.expect("an answer")
    })
    .await;
    assert_eq!(back.data, kept);

    // An intermediate of somebody's own root, as cert-manager would write it.
    let (root, cert, key) = intermediate();
    let data = json!({"stringData": {"tls.crt": cert, "tls.key": key, "ca.crt": root}});
    let patch = Patch::Merge(data);
    secrets
        .patch("warren-ca", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    let tunnel = token(&client, SYSTEM, "warren-ztunnel", "tunnel-a", "warren-ca").await;
    let chain = eventually("a certificate of the intermediate", async || {
        let chain = ask(&c, &tunnel, WEB).await.ok()?;
        (chain.len() == 3).then_some(chain)
    })
    .await;
    assert_eq!(roots(chain.last().expect("root")), roots(&root));
    eventually("its root", async || {
        bundle(&client)
            .await
            .filter(|b| roots(b) == roots(&root) && *b != before)
    })
    .await;

    // What is no CA changes nothing.
    let patch = Patch::Merge(json!({"stringData": {"tls.key": tokens::Issuer::new().key_pem()}}));
    secrets
        .patch("warren-ca", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        c.log().contains("does not belong to the first certificate"),
        "{}",
        c.log()
    );
    let chain = ask(&c, &tunnel, WEB).await.expect("issued");
    assert_eq!(roots(chain.last().expect("root")), roots(&root));
}

/// PEM of a root, of an intermediate that it signed, and of that one's key.
fn intermediate() -> (String, String, String) {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    };
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let root_key = KeyPair::generate().expect("key");
    let root = params("root").self_signed(&root_key).expect("root").pem();
    let issuer = Issuer::new(params("root"), root_key);
    let key = KeyPair::generate().expect("key");
    let cert = params("intermediate")
        .signed_by(&key, &issuer)
        .expect("intermediate");
    (root, cert.pem(), key.serialize_pem())
}
