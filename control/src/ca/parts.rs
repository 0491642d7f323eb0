//! An authority from PEM texts, wherever they were kept.

use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Authority, CaError};

/// PEM texts, with the names by which errors call them.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The issuing certificate, then those up to the root, without the root.
    pub cert: &'a str,
    /// Its private key.
    pub key: &'a str,
    /// The root, or several.
    pub root: &'a str,
    /// Name of the first.
    pub cert_name: &'a str,
    /// Name of the second.
    pub key_name: &'a str,
    /// Name of the third.
    pub root_name: &'a str,
}

/// Checks that the parts fit together.
///
/// # Errors
/// They do not.
pub fn assemble(parts: &Parts<'_>) -> Result<Authority, CaError> {
    let chain = certificates(parts.cert_name, parts.cert)?;
    let roots = certificates(parts.root_name, parts.root)?;
    let issuing = chain
        .first()
        .ok_or_else(|| problem(parts.cert_name, "holds no certificate"))?;
    let key = KeyPair::from_pem(parts.key).map_err(|e| problem(parts.key_name, &e.to_string()))?;
    let parsed = parse(parts.cert_name, issuing)?;
    if !parsed.is_ca() {
        return Err(problem(
            parts.cert_name,
            "its first certificate is not a CA certificate",
        ));
    }
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(problem(
            parts.key_name,
            "does not belong to the first certificate",
        ));
    }
    check_root(parts, &chain[chain.len() - 1], &roots)?;
    let not_after = OffsetDateTime::from_unix_timestamp(parsed.validity().not_after.timestamp())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    if not_after <= OffsetDateTime::now_utc() {
        return Err(problem(
            parts.cert_name,
            &format!("expired at {not_after}; renew it"),
        ));
    }
    let issuer = Issuer::from_ca_cert_der(issuing, key)
        .map_err(|e| problem(parts.cert_name, &e.to_string()))?;
    // A certificate that is a root itself does not travel twice.
    let pem: Vec<String> = chain
        .iter()
        .filter(|c| !roots.contains(c))
        .map(|c| to_pem(c))
        .collect();
    Ok(Authority::new(
        issuer,
        pem,
        parts.root.to_owned(),
        not_after,
    ))
}

fn check_root(
    parts: &Parts<'_>,
    end: &CertificateDer<'_>,
    roots: &[CertificateDer<'_>],
) -> Result<(), CaError> {
    let top = parse(parts.cert_name, end)?;
    let mut parsed = Vec::new();
    for root in roots {
        parsed.push(parse(parts.root_name, root)?);
    }
    let signed = |r: &X509Certificate<'_>| {
        r.subject() == top.issuer() && top.verify_signature(Some(r.public_key())).is_ok()
    };
    if parsed.iter().any(signed) {
        return Ok(());
    }
    Err(problem(
        parts.root_name,
        "no root in it signed the end of the chain",
    ))
}

fn certificates(name: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.map_err(|e| problem(name, &format!("not PEM certificates: {e}")))
}

fn parse<'a>(name: &str, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CaError> {
    X509Certificate::from_der(der)
        .map(|(_, c)| c)
        .map_err(|e| problem(name, &format!("not an X.509 certificate: {e}")))
}

/// PEM of a certificate.
pub fn to_pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|c| std::str::from_utf8(c).ok())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn problem(name: &str, problem: &str) -> CaError {
    CaError::File {
        path: name.to_owned(),
        problem: problem.to_owned(),
    }
}
