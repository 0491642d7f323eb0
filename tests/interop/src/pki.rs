//! Keys and certificates that the peer makes for itself: good ones, and every wrong kind.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate chain, leaf first, with its key.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl Identity {
    /// Reads PEM files.
    pub fn read(chain: &Path, key: &Path) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("{} holds no private key", key.display()))?;
        Ok(Self {
            chain: read_certs(chain)?,
            key,
        })
    }

    /// Writes PEM files.
    pub fn save(&self, chain: &Path, key: &Path) -> Result<()> {
        let certs: String = self.chain.iter().map(|c| pem("CERTIFICATE", c)).collect();
        fs::write(chain, certs).with_context(|| format!("cannot write {}", chain.display()))?;
        fs::write(key, pem("PRIVATE KEY", self.key.secret_der()))
            .with_context(|| format!("cannot write {}", key.display()))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// Reads every certificate of a PEM file.
pub fn read_certs(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certs: Vec<_> = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("cannot read {}", file.display()))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not PEM", file.display()))?;
    ensure!(!certs.is_empty(), "{} holds no certificate", file.display());
    Ok(certs)
}

/// A certificate that something is wrong with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Forgery {
    /// Ended an hour ago.
    Expired,
    /// Begins in an hour.
    NotYetValid,
    /// Signed by itself.
    SelfSigned,
    /// Good, but for `spiffe://elsewhere.example/…`.
    OtherTrustDomain,
    /// Without a URI name.
    NoUri,
    /// With two URI names.
    TwoUris,
    /// A URI that is no SPIFFE ID.
    NotSpiffe,
    /// With a DNS name only.
    DnsOnly,
    /// Nothing wrong: shows that the signer is taken at all.
    Good,
}

/// A certificate authority, made here or the mesh's own.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub root: CertificateDer<'static>,
}

impl Ca {
    /// A new one.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "interop CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key)?.der().clone();
        Ok(Self {
            issuer: Issuer::new(params, key),
            root,
        })
    }

    /// From PEM files.
    pub fn read(cert: &Path, key: &Path) -> Result<Self> {
        let root = read_certs(cert)?.remove(0);
        let pem =
            fs::read_to_string(key).with_context(|| format!("cannot read {}", key.display()))?;
        let key = KeyPair::from_pem(&pem).context("the CA's key cannot be read")?;
        let issuer =
            Issuer::from_ca_cert_der(&root, key).context("the CA's certificate cannot be read")?;
        Ok(Self { issuer, root })
    }

    /// Writes its certificate and key as PEM files.
    pub fn save(&self, cert: &Path, key: &Path) -> Result<()> {
        let key_der = PrivateKeyDer::Pkcs8(self.issuer.key().serialize_der().into());
        Identity {
            chain: vec![self.root.clone()],
            key: key_der,
        }
        .save(cert, key)
    }

    /// A good certificate for an hour.
    pub fn issue(&self, spiffe: &str) -> Result<Identity> {
        self.forge(Forgery::Good, spiffe)
    }

    /// A certificate for `spiffe` with that fault.
    pub fn forge(&self, fault: Forgery, spiffe: &str) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let params = leaf(fault, spiffe)?;
        let cert = match fault {
            Forgery::SelfSigned => params.self_signed(&key)?,
            _ => params.signed_by(&key, &self.issuer)?,
        };
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(Identity {
            chain: vec![cert.der().clone()],
            key: der,
        })
    }
}

fn leaf(fault: Forgery, spiffe: &str) -> Result<CertificateParams> {
    let hour = Duration::from_secs(3600);
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let (begin, end) = match fault {
        Forgery::Expired => (now - 2 * hour, now - hour),
        Forgery::NotYetValid => (now + hour, now + 2 * hour),
        _ => (now - Duration::from_secs(60), now + hour),
    };
    (params.not_before, params.not_after) = (begin.into(), end.into());
    let path = spiffe.splitn(4, '/').nth(3).unwrap_or_default();
    let uris: Vec<String> = match fault {
        Forgery::OtherTrustDomain => vec![format!("spiffe://elsewhere.example/{path}")],
        Forgery::NoUri | Forgery::DnsOnly => Vec::new(),
        Forgery::TwoUris => vec![spiffe.into(), format!("{spiffe}-2")],
        Forgery::NotSpiffe => vec!["https://cluster.local/ns/a/sa/b".into()],
        _ => vec![spiffe.into()],
    };
    for uri in uris {
        params
            .subject_alt_names
            .push(SanType::URI(Ia5String::try_from(uri)?));
    }
    if fault == Forgery::DnsOnly {
        params
            .subject_alt_names
            .push(SanType::DnsName("web.shop.svc".try_into()?));
    }
    Ok(params)
}

/// What a certificate says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// URI names.
    pub uris: Vec<String>,
    /// DNS and IP names.
    pub names: Vec<String>,
    /// Unix time in seconds.
    pub not_before: i64,
    /// Unix time in seconds.
    pub not_after: i64,
    /// `X25519`-like name of the key's algorithm, as an object identifier.
    pub key_algorithm: String,
    /// Whether it may sign others.
    pub ca: bool,
}

/// Reads a certificate.
pub fn facts(cert: &CertificateDer<'_>) -> Result<Facts> {
    let (_, parsed) =
        X509Certificate::from_der(cert).context("a certificate that cannot be read")?;
    let (mut uris, mut names) = (Vec::new(), Vec::new());
    if let Some(list) = parsed.subject_alternative_name().ok().flatten() {
        for name in &list.value.general_names {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => names.push((*dns).to_owned()),
                other => names.push(other.to_string()),
            }
        }
    }
    Ok(Facts {
        uris,
        names,
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        key_algorithm: parsed.public_key().algorithm.algorithm.to_id_string(),
        ca: parsed.is_ca(),
    })
}
