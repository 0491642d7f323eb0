//! An issuer of cert-manager's: played here, by its real API.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tonic::Code;

use crate::support::SYSTEM;
use crate::support::api::ApiServer;
use crate::support::controller::Controller;
use crate::support::eventually;
use crate::support::objects::token;
use crate::tokens::{ask, shop};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

async fn definition(client: &Client) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {"name": "certificaterequests.cert-manager.io"},
        "spec": {
            "group": "cert-manager.io",
            "names": {"kind": "CertificateRequest", "plural": "certificaterequests"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}],
        },
    });
    let definition: CustomResourceDefinition = serde_json::from_value(definition).expect("one");
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &definition)
        .await
        .expect("made");
}

fn requests(client: &Client) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "certificaterequests");
    Api::namespaced_with(client.clone(), SYSTEM, &resource)
}

/// Answers requests for the issuer `mesh`; of the issuer `liar` it gives certificates for another name.
async fn play(client: Client) {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "outside");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    let root = params.self_signed(&key).expect("root").pem();
    let issuer = Issuer::new(params, key);
    let api = requests(&client);
    loop {
        let all = api.list(&ListParams::default()).await;
        for request in all
            .into_iter()
            .flatten()
            .filter(|r| r.data.get("status").is_none())
        {
            let text = request.data["spec"]["request"].as_str().expect("a request");
            let csr = String::from_utf8(STANDARD.decode(text).expect("base64")).expect("text");
            let csr = rcgen::CertificateSigningRequestParams::from_pem(&csr).expect("a CSR");
            let mut leaf = csr.params.clone();
            let spiffe = format!("{:?}", leaf.subject_alt_names).contains("spiffe");
            if request.data["spec"]["issuerRef"]["name"] == "liar" && spiffe {
                let other = "spiffe://cluster.local/ns/shop/sa/db"
                    .try_into()
                    .expect("ASCII");
                leaf.subject_alt_names = vec![rcgen::SanType::URI(other)];
            }
            let leaf = leaf
                .signed_by(&csr.public_key, &issuer)
                .expect("signed")
                .pem();
            let status = json!({"status": {
                "conditions": [{"type": "Ready", "status": "True", "reason": "Issued"}],
                "certificate": STANDARD.encode(leaf),
                "ca": STANDARD.encode(&root),
            }});
            let name = request.metadata.name.as_deref().expect("name");
            let patch = Patch::Merge(status);
            let _ = api
                .patch_status(name, &PatchParams::default(), &patch)
                .await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs etcd and kube-apiserver"]
async fn an_issuer_outside_signs() {
    let (api, client) = ApiServer::installed(&[]).await;
    shop(&client).await;
    let flags = ["--cert-manager-issuer", "mesh:ClusterIssuer"];
    let mut c = Controller::spawn(&api, api.port, &flags);
    eventually("a complaint", async || {
        c.log().contains("issuer mesh").then_some(())
    })
    .await;
    definition(&client).await;
    let player = tokio::spawn(play(client.clone()));
    c.ready().await;
    let tunnel = token(&client, SYSTEM, "warren-ztunnel", "tunnel-a", "warren-ca").await;
    let chain = ask(&c, &tunnel, WEB).await.expect("issued");
    assert_eq!(chain.len(), 2, "leaf and root");
    let root = std::fs::read_to_string(c.dir.path().join("run/root-cert.pem")).expect("root");
    assert_eq!(chain[1].trim(), root.trim());
    eventually("no requests left", async || {
        let left = requests(&client)
            .list(&ListParams::default())
            .await
            .expect("list");
        left.items.is_empty().then_some(())
    })
    .await;

    // A certificate for somebody else is not passed on.
    let c = Controller::start(&api, api.port, &["--cert-manager-issuer", "liar"]).await;
    let status = ask(&c, &tunnel, WEB).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("another key or name"),
        "{}",
        status.message()
    );
    player.abort();
}
