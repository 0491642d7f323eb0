//! The certificate authority: its key and chain, and what it signs.
//!
//! ```text
//! CSR + bearer token --service--> token good? identity permitted on that node? CSR sound? --Authority::sign--> leaf, chain, root
//! ```

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

pub mod cert_manager;
pub mod csr;
mod current;
pub mod files;
pub mod parts;
pub mod secret;
pub mod service;
mod signer;

pub use current::Current;
pub use signer::Signer;

/// Certificates are valid from this long before they are made, for clocks that go behind: some minutes happen where
/// nobody keeps time.
const BACKDATE: Duration = Duration::from_secs(120);
/// A root that we make ourselves is valid for this long.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why the CA cannot work or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The library refused.
    #[error("signing failed: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// An issuer outside.
    #[error("issuer {issuer}: {problem}")]
    External {
        /// Which.
        issuer: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The issuing certificate has ended.
    #[error("the issuing certificate expired at {0}: give the controller a new one")]
    IssuerExpired(OffsetDateTime),
}

/// The CA.
#[derive(Debug)]
pub struct Authority {
    /// None where somebody else signs.
    issuer: Option<Issuer<'static, KeyPair>>,
    /// PEM of the certificates between leaf and root, the issuing one first; none where the root signs.
    intermediates: Vec<String>,
    /// PEM of the root, or of several while they change over.
    root: String,
    /// When the issuing certificate ends.
    not_after: OffsetDateTime,
}

/// A signed certificate.
#[derive(Clone, Debug)]
pub struct Signed {
    /// PEM: leaf, intermediates, root.
    pub chain: Vec<String>,
    /// When the leaf ends.
    pub not_after: OffsetDateTime,
    /// Serial number, hexadecimal.
    pub serial: String,
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A workload.
    Spiffe(String),
    /// A server: DNS names and IP addresses.
    Server(Vec<String>),
}

impl Authority {
    /// Puts an authority together from its parts.
    pub fn new(
        issuer: Issuer<'static, KeyPair>,
        intermediates: Vec<String>,
        root: String,
        not_after: OffsetDateTime,
    ) -> Self {
        Self {
            issuer: Some(issuer),
            intermediates,
            root,
            not_after,
        }
    }

    /// Only what is trusted; somebody else signs.
    pub fn trusted(root: String) -> Self {
        Self {
            issuer: None,
            intermediates: Vec::new(),
            root,
            not_after: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Makes a root.
    ///
    /// # Errors
    /// The library refuses.
    pub fn self_signed(key: KeyPair, trust_domain: &str) -> Result<Self, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, trust_domain);
        params
            .distinguished_name
            .push(DnType::CommonName, "Warren root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = now() - BACKDATE;
        params.not_after = now() + ROOT_LIFETIME;
        params.serial_number = Some(serial());
        let root = params.self_signed(&key)?.pem();
        let not_after = params.not_after;
        Ok(Self {
            issuer: Some(Issuer::new(params, key)),
            intermediates: Vec::new(),
            root,
            not_after,
        })
    }

    /// When the issuing certificate ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The public key of what signs.
    pub fn issuing_key(&self) -> Option<&[u8]> {
        self.issuer.as_ref().map(|i| i.key().public_key_raw())
    }

    /// PEM of the root.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// PEM of the certificates between leaf and root.
    pub fn intermediates(&self) -> &[String] {
        &self.intermediates
    }

    /// Signs `key` for `subject`; the life is cut where the issuing certificate ends before.
    ///
    /// # Errors
    /// The issuing certificate has ended, or the library refuses.
    pub fn sign(
        &self,
        key: &impl PublicKeyData,
        subject: &Subject,
        life: Duration,
    ) -> Result<Signed, CaError> {
        let issuer = self.issuer.as_ref().filter(|_| self.not_after > now());
        let issuer = issuer.ok_or(CaError::IssuerExpired(self.not_after))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = sans(subject)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now() - BACKDATE;
        params.not_after = (now() + life).min(self.not_after);
        let serial = serial();
        params.serial_number = Some(serial.clone());
        let leaf = params.signed_by(key, issuer)?.pem();
        let chain = [leaf]
            .into_iter()
            .chain(self.intermediates.iter().cloned())
            .chain([self.root.clone()]);
        let serial = serial
            .to_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Ok(Signed {
            chain: chain.collect(),
            not_after: params.not_after,
            serial,
        })
    }
}

fn sans(subject: &Subject) -> Result<Vec<SanType>, rcgen::Error> {
    match subject {
        Subject::Spiffe(id) => Ok(vec![SanType::URI(id.as_str().try_into()?)]),
        Subject::Server(names) => names.iter().map(|n| server_name(n)).collect(),
    }
}

fn server_name(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

/// Whole seconds: certificates hold no parts of one.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

/// 127 random bits; the first bit is zero, since serial numbers are positive (RFC 5280 §4.1.2.2).
fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = (bytes[0] & 0x7f) | 0x01;
    SerialNumber::from_slice(&bytes)
}
