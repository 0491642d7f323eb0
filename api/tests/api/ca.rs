//! The CA client against a small authority.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateSigningRequestParams, KeyPair, PublicKeyData};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use warren_api::ca::{CaClient, Error};
use warren_api::r#gen::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use warren_api::r#gen::ca::{IstioCertificateRequest, IstioCertificateResponse};
use warren_core::Identity;

use crate::server::{Trust, serve};

/// How the authority answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Sign,
    OtherKey,
    OtherName,
    Empty,
    Deny,
}

#[derive(Clone)]
struct Authority {
    trust: Arc<Trust>,
    mode: Arc<Mutex<Mode>>,
    seen: Arc<Mutex<Vec<(String, IstioCertificateRequest)>>>,
}

#[tonic::async_trait]
impl IstioCertificateService for Authority {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .expect("a token")
            .to_str()
            .expect("ASCII");
        self.seen
            .lock()
            .expect("lock")
            .push((token.to_owned(), request.get_ref().clone()));
        let mode = *self.mode.lock().expect("lock");
        let mut csr =
            CertificateSigningRequestParams::from_pem(&request.get_ref().csr).expect("a CSR");
        if mode == Mode::OtherName {
            let name = "spiffe://cluster.local/ns/a/sa/other"
                .try_into()
                .expect("a name");
            csr.params.subject_alt_names = vec![rcgen::SanType::URI(name)];
        }
        let issuer = &self.trust.issuer;
        let leaf = match mode {
            Mode::Deny => return Err(Status::permission_denied("no such pod on this node")),
            Mode::Empty => {
                return Ok(Response::new(IstioCertificateResponse {
                    cert_chain: Vec::new(),
                }));
            }
            Mode::OtherKey => csr
                .params
                .signed_by(&KeyPair::generate().expect("key"), issuer)
                .expect("signed"),
            Mode::Sign | Mode::OtherName => csr.signed_by(issuer).expect("signed"),
        };
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: vec![leaf.pem(), issuer.pem()],
        }))
    }
}

#[tokio::test]
async fn fetches_and_checks_certificates() {
    let trust = Arc::new(Trust::new());
    let authority = Authority {
        trust: trust.clone(),
        mode: Arc::new(Mutex::new(Mode::Sign)),
        seen: Arc::default(),
    };
    let routes = Routes::new(IstioCertificateServiceServer::new(authority.clone()));
    let (address, _task) = serve(&trust, "127.0.0.1:0", "127.0.0.1", routes).await;
    let client = CaClient::new(trust.target(address)).expect("client");
    let identity = Identity::new("", "shop", "web");
    let day = Duration::from_secs(24 * 3600);

    let issued = client.fetch(&identity, day).await.expect("a certificate");
    assert_eq!((issued.chain.len(), issued.roots.len()), (1, 1));
    assert!(issued.not_before < SystemTime::now() && issued.not_after > SystemTime::now());
    let key = KeyPair::try_from(&issued.key).expect("key");
    assert!(key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256));
    assert!(
        issued.chain[0]
            .windows(key.der_bytes().len())
            .any(|w| w == key.der_bytes())
    );
    // Tokens rotate: the file is read for each request.
    std::fs::write(trust.token_path(), "second-token").expect("write");
    client.fetch(&identity, day).await.expect("a certificate");
    {
        let seen = authority.seen.lock().expect("lock");
        assert_eq!(
            (seen[0].0.as_str(), seen[1].0.as_str()),
            ("Bearer first-token", "Bearer second-token")
        );
        assert_eq!(seen[0].1.validity_duration, 24 * 3600);
        let metadata = seen[0].1.metadata.as_ref().expect("metadata");
        let asked = format!("{:?}", metadata.fields["ImpersonatedIdentity"]);
        assert!(
            asked.contains("spiffe://cluster.local/ns/shop/sa/web"),
            "{asked}"
        );
    }

    for (mode, retryable) in [
        (Mode::OtherKey, false),
        (Mode::OtherName, false),
        (Mode::Empty, false),
        (Mode::Deny, false),
    ] {
        *authority.mode.lock().expect("lock") = mode;
        let error = client.fetch(&identity, day).await.expect_err("refused");
        assert!(
            error
                .to_string()
                .contains("spiffe://cluster.local/ns/shop/sa/web"),
            "{error}"
        );
        assert_eq!(error.is_retryable(), retryable, "{mode:?}: {error}");
    }
}

#[tokio::test]
async fn an_absent_authority_is_retryable() {
    let trust = Trust::new();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("bind")
        .local_addr()
        .expect("address");
    let identity = Identity::new("", "shop", "web");
    let client = CaClient::new(trust.target(gone)).expect("client");
    let error = client
        .fetch(&identity, Duration::from_secs(60))
        .await
        .expect_err("nobody listens");
    assert!(error.is_retryable(), "{error}");
    assert!(
        matches!(&error, Error::Refused { status, .. } if status.code() == Code::Unavailable),
        "{error}"
    );
}
