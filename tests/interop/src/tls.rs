//! TLS 1.3 as tunnels speak it: ALPN `h2`, AES-GCM, no SNI, no resumption, and a choice of key exchange groups.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, Error, NamedGroup,
    RootCertStore, ServerConfig, SignatureScheme,
};
use serde_json::{Value, json};

use crate::pki::{Identity, facts};

/// Key exchange groups that are offered or taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Groups {
    /// X25519MLKEM768 first, then the classic ones.
    #[default]
    Any,
    /// X25519 and P-256 only, as a stock peer without post-quantum support.
    Classic,
    /// P-256 only.
    P256,
    /// X25519MLKEM768 only.
    Pq,
}

/// Which server a client takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expect {
    /// Signed by the root, with this name or address.
    Host(String),
    /// Signed by the root, with exactly this URI name; none: any.
    Spiffe(Option<String>),
}

/// The cryptography of both sides.
pub fn provider(groups: Groups) -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite as suite, kx_group as kx};
    let kx_groups = match groups {
        Groups::Any => vec![kx::X25519MLKEM768, kx::X25519, kx::SECP256R1],
        Groups::Classic => vec![kx::X25519, kx::SECP256R1],
        Groups::P256 => vec![kx::SECP256R1],
        Groups::Pq => vec![kx::X25519MLKEM768],
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups,
        ..aws_lc_rs::default_provider()
    })
}

/// A client; without an identity it sends no certificate.
pub fn client(
    roots: &[CertificateDer<'static>],
    identity: Option<Identity>,
    groups: Groups,
    expect: &Expect,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>> {
    let provider = provider(groups);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match expect {
        Expect::Host(_) => builder.with_root_certificates(store(roots)?),
        Expect::Spiffe(uri) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BySpiffe {
                roots: store(roots)?,
                uri: uri.clone(),
                provider,
            })),
    };
    let mut config = match identity {
        Some(id) => builder.with_client_auth_cert(id.chain, id.key)?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = matches!(expect, Expect::Host(_));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// A server that demands a client certificate signed by the roots.
pub fn server(
    roots: &[CertificateDer<'static>],
    identity: Identity,
    groups: Groups,
) -> Result<Arc<ServerConfig>> {
    let provider = provider(groups);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store(roots)?), provider.clone())
            .build()
            .context("the roots cannot be used")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(root.clone())
            .context("a root certificate cannot be used")?;
    }
    Ok(store)
}

/// What was negotiated, and who the peer is.
pub fn describe(state: &CommonState) -> Value {
    let peer = state
        .peer_certificates()
        .and_then(|c| c.first())
        .and_then(|c| facts(c).ok());
    json!({
        "event": "tls",
        "version": state.protocol_version().map(|v| format!("{v:?}")),
        "alpn": state.alpn_protocol().map(String::from_utf8_lossy),
        "group": state.negotiated_key_exchange_group().map(|g| group_name(g.name())),
        "suite": state.negotiated_cipher_suite().map(|s| format!("{:?}", s.suite())),
        "peer": peer.as_ref().map(|p| p.uris.clone()),
        "peer_names": peer.map(|p| p.names),
    })
}

fn group_name(group: NamedGroup) -> String {
    format!("{group:?}")
}

#[derive(Debug)]
struct BySpiffe {
    roots: RootCertStore,
    uri: Option<String>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for BySpiffe {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &cert,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let uris = facts(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?
            .uris;
        let right = match &self.uri {
            Some(uri) => uris == [uri.as_str()],
            None => uris.len() == 1,
        };
        if right {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!(
            "the server is {uris:?}, expected {:?}",
            self.uri
        )))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
