//! A workload's certificate chain with its key, and the identity inside a certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use warren_core::Identity;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::PeerRefusal;

/// Why a chain and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// No certificate in the chain.
    #[error(
        "the certificate chain is empty; the certificate authority answered without a certificate"
    )]
    Empty,
    /// The leaf cannot be read or carries no identity.
    #[error("the certificate's leaf is unusable: {0}")]
    Leaf(#[from] PeerRefusal),
    /// The key does not fit or cannot be read.
    #[error("the private key is unusable: {0}")]
    Key(#[from] rustls::Error),
}

/// A certificate chain with its key, ready for handshakes. Replaced as a whole at renewal; connections that exist keep theirs.
#[derive(Debug)]
pub struct WorkloadCert {
    /// Whose it is.
    pub identity: Identity,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
    /// Serial number in hexadecimal.
    pub serial: String,
    pub(crate) key: Arc<CertifiedKey>,
}

impl WorkloadCert {
    /// Takes a chain (leaf first, without roots) and the leaf's key; reads identity and validity from the leaf.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertError> {
        let leaf = Leaf::parse(chain.first().ok_or(CertError::Empty)?)?;
        let key = CertifiedKey::from_der(chain, key, &super::provider())?;
        Ok(Self {
            identity: leaf.identity,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            serial: leaf.serial,
            key: Arc::new(key),
        })
    }
}

/// What matters of an end-entity certificate.
pub(crate) struct Leaf {
    pub(crate) identity: Identity,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) serial: String,
}

impl Leaf {
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, PeerRefusal> {
        let (_, cert) = X509Certificate::from_der(der)
            .map_err(|e| PeerRefusal::Other(format!("not an X.509 certificate ({e})")))?;
        Ok(Self {
            identity: single_uri_san(&cert)?,
            not_before: at(cert.validity().not_before.timestamp()),
            not_after: at(cert.validity().not_after.timestamp()),
            serial: cert
                .raw_serial()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
        })
    }
}

/// Reads the identity of a certificate: its one URI name (SPIFFE X509-SVID §2).
pub fn identity_of(der: &CertificateDer<'_>) -> Result<Identity, PeerRefusal> {
    Leaf::parse(der).map(|l| l.identity)
}

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs())
}

fn single_uri_san(cert: &X509Certificate<'_>) -> Result<Identity, PeerRefusal> {
    let san = cert
        .subject_alternative_name()
        .map_err(|e| {
            PeerRefusal::NoIdentity(format!("unreadable subject alternative names ({e})"))
        })?
        .ok_or_else(|| PeerRefusal::NoIdentity("no subject alternative names".into()))?;
    let mut uris = san.value.general_names.iter().filter_map(|n| match n {
        GeneralName::URI(u) => Some(*u),
        _ => None,
    });
    let first = uris
        .next()
        .ok_or_else(|| PeerRefusal::NoIdentity("no URI name".into()))?;
    if uris.next().is_some() {
        return Err(PeerRefusal::NoIdentity("more than one URI name".into()));
    }
    first
        .parse()
        .map_err(|e| PeerRefusal::NoIdentity(format!("{e}")))
}
