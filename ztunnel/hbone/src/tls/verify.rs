//! What either side asks of its peer: chain and expiry by webpki, then the identity; DNS names play no part.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
};

use super::cert::identity_of;
use super::trust::{Expect, Roots};
use crate::error::PeerRefusal;

/// Checks the certificate of the peer, whichever side that is.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    pub(super) roots: Arc<Roots>,
    pub(super) trust_domain: Arc<str>,
    pub(super) expect: Expect,
}

impl PeerVerifier {
    /// What follows the chain: the identity.
    fn check_identity(&self, cert: &CertificateDer<'_>) -> Result<(), Error> {
        let got = identity_of(cert).map_err(refuse)?;
        if got.trust_domain != self.trust_domain {
            let (expected, got) = (self.trust_domain.clone(), got.trust_domain);
            return Err(refuse(PeerRefusal::WrongTrustDomain { expected, got }));
        }
        match &self.expect {
            Expect::OneOf(ids) if !ids.contains(&got) => {
                let expected = ids
                    .iter()
                    .map(|i| format!("`{i}`"))
                    .collect::<Vec<_>>()
                    .join(" or ");
                Err(refuse(PeerRefusal::UnexpectedIdentity { expected, got }))
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots
            .clients
            .verify_tls13_signature(message, cert, dss)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.roots.clients.supported_verify_schemes()
    }
}

fn refuse(r: PeerRefusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(r))))
}

/// Another mesh's root may have the same name as ours: then the issuer is found and its signature is wrong.
fn wrong_issuer(e: Error) -> Error {
    match e {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            refuse(PeerRefusal::UnknownIssuer)
        }
        other => other,
    }
}

fn no_tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic)
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let ok = self
            .roots
            .clients
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(wrong_issuer)?;
        self.check_identity(end_entity)?;
        Ok(ok)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        let algorithms = super::provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(
            &cert,
            &self.roots.store,
            intermediates,
            now,
            algorithms.all,
        )
        .map_err(wrong_issuer)?;
        self.check_identity(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
