//! The client of the certificate authority: a fresh P-256 key, a CSR with one URI SAN, and a checked answer.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use warren_core::Identity;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::channel::{self, Target, describe};
use crate::r#gen::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use crate::r#gen::ca::{IstioCertificateRequest, IstioCertificateResponse};

/// Name of the metadata field by which a shared tunnel says for whom it asks.
pub const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// A certificate with its key.
#[derive(Debug)]
pub struct Issued {
    /// Whose it is.
    pub identity: Identity,
    /// Leaf first, then intermediates; without the roots.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots that the authority answered with; may be several while a root is being replaced.
    pub roots: Vec<CertificateDer<'static>>,
    /// PKCS #8.
    pub key: PrivateKeyDer<'static>,
    /// Start of the leaf's validity.
    pub not_before: SystemTime,
    /// End of the leaf's validity.
    pub not_after: SystemTime,
    /// The leaf's serial number, hexadecimal.
    pub serial: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be prepared.
    #[error("certificate for {identity}: {source}")]
    Channel {
        /// Whose certificate.
        identity: Identity,
        /// Why.
        source: channel::Error,
    },
    /// The authority refused or could not be reached.
    #[error("certificate for {identity}: {}", advice(.status))]
    Refused {
        /// Whose certificate.
        identity: Identity,
        /// Its answer.
        status: Box<Status>,
    },
    /// No key or CSR could be made.
    #[error("certificate for {identity}: the request could not be made: {source}")]
    Request {
        /// Whose certificate.
        identity: Identity,
        /// Why.
        source: rcgen::Error,
    },
    /// The answer is no certificate for this request.
    #[error("certificate for {identity}: the authority's answer cannot be used: {problem}")]
    Answer {
        /// Whose certificate.
        identity: Identity,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Channel { .. } => true,
            Self::Refused { status, .. } => !matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::Unimplemented
            ),
            Self::Request { .. } | Self::Answer { .. } => false,
        }
    }
}

/// A client; cheap to clone, one connection for all clones.
#[derive(Clone, Debug)]
pub struct CaClient {
    target: Target,
    client: IstioCertificateServiceClient<Channel>,
}

impl CaClient {
    /// A client that connects when it is first used. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// The address is not `https://host:port`.
    pub fn new(target: Target) -> Result<Self, channel::Error> {
        let client = IstioCertificateServiceClient::new(target.channel()?);
        Ok(Self { target, client })
    }

    /// Gets a certificate for `identity`, valid for about `validity`; waits at most 10 s.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_retryable`] says whether trying again makes sense.
    pub async fn fetch(&self, identity: &Identity, validity: Duration) -> Result<Issued, Error> {
        let request_error = |source| Error::Request {
            identity: identity.clone(),
            source,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(request_error)?;
        let csr = csr(identity, &key).map_err(request_error)?;
        let headers = self.target.headers();
        let headers = headers.map_err(|source| Error::Channel {
            identity: identity.clone(),
            source,
        })?;
        let mut request = Request::new(message(identity, csr, validity));
        *request.metadata_mut() = headers;
        let mut client = self.client.clone();
        let call = tokio::time::timeout(CALL_LIMIT, client.create_certificate(request));
        let answer = call.await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "no answer within {CALL_LIMIT:?}"
            )))
        });
        let refused = |status| Error::Refused {
            identity: identity.clone(),
            status: Box::new(status),
        };
        let response = answer.map_err(refused)?.into_inner();
        check(identity, &key, &response).map_err(|problem| Error::Answer {
            identity: identity.clone(),
            problem,
        })
    }
}

fn advice(status: &Status) -> String {
    let next = match status.code() {
        Code::Unauthenticated => "; the token is missing, expired or of another audience",
        Code::PermissionDenied => "; does a pod of this service account run on this node?",
        Code::Unavailable => "; is the controller reachable?",
        _ => "",
    };
    format!("{}{next}", describe(status))
}

fn csr(identity: &Identity, key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
    params.serialize_request(key)?.pem()
}

fn message(identity: &Identity, csr: String, validity: Duration) -> IstioCertificateRequest {
    use prost_types::value::Kind;
    let value = prost_types::Value {
        kind: Some(Kind::StringValue(identity.to_string())),
    };
    let fields = [(IMPERSONATED_IDENTITY.to_owned(), value)].into();
    IstioCertificateRequest {
        csr,
        validity_duration: i64::try_from(validity.as_secs()).unwrap_or(i64::MAX),
        metadata: Some(prost_types::Struct { fields }),
    }
}

/// The leaf has to carry this identity and this key; the last element is the root or roots, unless it is the only one.
fn check(
    identity: &Identity,
    key: &KeyPair,
    response: &IstioCertificateResponse,
) -> Result<Issued, String> {
    let mut parts = Vec::with_capacity(response.cert_chain.len());
    for pem in &response.cert_chain {
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        parts.push(certs.map_err(|e| format!("not PEM: {e}"))?);
    }
    let roots = if parts.len() > 1 {
        parts.pop().unwrap_or_default()
    } else {
        Vec::new()
    };
    let chain: Vec<CertificateDer<'static>> = parts.into_iter().flatten().collect();
    let leaf = chain.first().ok_or("no certificate in it")?;
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|e| format!("the leaf is no certificate: {e}"))?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err("the leaf is for another key".into());
    }
    let expected = identity.to_string();
    let sans = parsed
        .subject_alternative_name()
        .map_err(|e| format!("bad SAN extension: {e}"))?;
    let names = sans.map_or(&[][..], |s| s.value.general_names.as_slice());
    if !matches!(names, [GeneralName::URI(uri)] if *uri == expected) {
        return Err(format!("the leaf names {names:?} instead of {expected}"));
    }
    Ok(Issued {
        identity: identity.clone(),
        not_before: system_time(parsed.validity().not_before.timestamp()),
        not_after: system_time(parsed.validity().not_after.timestamp()),
        serial: parsed.serial.to_str_radix(16),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        roots,
        chain,
    })
}

fn system_time(unix_seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}
