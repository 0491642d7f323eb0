//! Certificate signing requests: what is taken.

use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PublicKey, PublicKeyData, SanType,
};

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not a request, or its signature is not by its own key.
    #[error("the CSR cannot be taken: {0}; send a PKCS#10 request in PEM, signed by its own key")]
    Malformed(String),
    /// A key of another kind.
    #[error(
        "the CSR's key is of a kind that is not taken: use ECDSA P-256, ECDSA P-384 or Ed25519"
    )]
    Key,
    /// The names do not fit.
    #[error("the CSR has to name exactly one URI, {expected}, and nothing else; it names {found}")]
    Names {
        /// The identity granted.
        expected: String,
        /// What stands in the request.
        found: String,
    },
}

/// Checks a request for `identity` and returns its key. Nothing else is taken from it.
///
/// # Errors
/// See [`CsrError`].
pub fn check(pem: &str, identity: &str) -> Result<PublicKey, CsrError> {
    let csr = CertificateSigningRequestParams::from_pem(pem)
        .map_err(|e| CsrError::Malformed(e.to_string()))?;
    let algorithm = csr.public_key.algorithm();
    // The algorithm is that of the signature; the length tells the key's own kind.
    let kinds = [
        (&PKCS_ECDSA_P256_SHA256, 65),
        (&PKCS_ECDSA_P384_SHA384, 97),
        (&PKCS_ED25519, 32),
    ];
    if !kinds
        .iter()
        .any(|(a, length)| *a == algorithm && csr.public_key.der_bytes().len() == *length)
    {
        return Err(CsrError::Key);
    }
    match csr.params.subject_alt_names.as_slice() {
        [SanType::URI(uri)] if uri.as_str() == identity => Ok(csr.public_key),
        names => Err(CsrError::Names {
            expected: identity.to_owned(),
            found: if names.is_empty() {
                "nothing".into()
            } else {
                format!("{names:?}")
            },
        }),
    }
}
