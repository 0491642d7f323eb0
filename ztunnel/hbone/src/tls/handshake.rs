//! Both TLS handshakes, with a time limit, and their errors in our terms.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, Error, version::TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use warren_core::Identity;

use super::cert::{Leaf, WorkloadCert};
use super::farewell::farewell;
use super::stream::TlsStream;
use super::trust::{Expect, Trust};
use super::verify::PeerVerifier;
use super::{ALPN_H2, provider};
use crate::error::{HandshakeError, PeerRefusal};
use crate::readahead::ReadAhead;

/// The stream of an established connection over `I`.
pub type Encrypted<I> = TlsStream<ReadAhead<I>>;

/// An established connection and who is at the other end.
pub struct Accepted<S> {
    /// The encrypted stream.
    pub stream: S,
    /// The peer's verified identity.
    pub peer: Identity,
    /// The first of both certificates ends then.
    pub not_after: SystemTime,
}

/// Client handshake as `cert`'s workload: no SNI, no resumption, the peer must be as `expect` says.
pub async fn connect<I: AsyncRead + AsyncWrite + Unpin>(
    io: I,
    cert: &WorkloadCert,
    trust: &Trust,
    expect: Expect,
    limit: Duration,
) -> Result<Accepted<Encrypted<I>>, HandshakeError> {
    let config = client_config(cert, trust, expect).map_err(|e| classify_tls(&e))?;
    // The name is never sent and never checked: rustls wants one.
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
    let handshake = TlsConnector::from(config).connect(name, ReadAhead::new(io));
    let (io, session) = timeout(limit, handshake)
        .await
        .map_err(|_| HandshakeError::Timeout)?
        .map_err(classify)?
        .into_inner();
    established(io, session.into(), cert)
}

/// Server handshake as `cert`'s workload: the client must show a certificate of our trust domain. One that is refused is told so by
/// an alert, and read a moment longer so that it arrives.
pub async fn accept<I: AsyncRead + AsyncWrite + Unpin>(
    io: I,
    cert: &WorkloadCert,
    trust: &Trust,
    limit: Duration,
) -> Result<Accepted<Encrypted<I>>, HandshakeError> {
    let config = server_config(cert, trust).map_err(|e| classify_tls(&e))?;
    let handshake = TlsAcceptor::from(config).accept(ReadAhead::new(io));
    let ended = timeout(limit, handshake.into_fallible())
        .await
        .map_err(|_| HandshakeError::Timeout)?;
    match ended {
        Ok(stream) => {
            let (io, session) = stream.into_inner();
            established(io, session.into(), cert)
        }
        Err((error, io)) => {
            let error = classify(error);
            if !matches!(error, HandshakeError::Io(_)) {
                farewell(io).await;
            }
            Err(error)
        }
    }
}

fn established<I>(
    io: ReadAhead<I>,
    session: rustls::Connection,
    cert: &WorkloadCert,
) -> Result<Accepted<Encrypted<I>>, HandshakeError> {
    let (peer, peers_end) = peer_of(&session)?;
    Ok(Accepted {
        stream: TlsStream::new(io, session),
        peer,
        not_after: peers_end.min(cert.not_after),
    })
}

fn resolver(key: &Arc<CertifiedKey>) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(CertifiedKey::clone(key)))
}

fn client_config(
    cert: &WorkloadCert,
    trust: &Trust,
    expect: Expect,
) -> Result<Arc<ClientConfig>, Error> {
    let verifier = PeerVerifier {
        roots: trust.roots(),
        trust_domain: cert.identity.trust_domain.clone(),
        expect,
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(resolver(&cert.key));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn server_config(cert: &WorkloadCert, trust: &Trust) -> Result<Arc<ServerConfig>, Error> {
    let verifier = PeerVerifier {
        roots: trust.roots(),
        trust_domain: cert.identity.trust_domain.clone(),
        expect: Expect::TrustDomain,
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(resolver(&cert.key));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn peer_of(session: &rustls::CommonState) -> Result<(Identity, SystemTime), HandshakeError> {
    if session.alpn_protocol() != Some(ALPN_H2) {
        return Err(HandshakeError::NoAlpn);
    }
    let leaf = session
        .peer_certificates()
        .and_then(|c| c.first())
        .ok_or(PeerRefusal::MissingCertificate)?;
    let leaf = Leaf::parse(leaf)?;
    Ok((leaf.identity, leaf.not_after))
}

/// Puts an I/O error of a handshake, or of the first read after it, into our terms.
pub(crate) fn classify(e: io::Error) -> HandshakeError {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(tls) => classify_tls(tls),
        None => HandshakeError::Io(e.to_string()),
    }
}

fn classify_tls(e: &Error) -> HandshakeError {
    match e {
        Error::NoCertificatesPresented => PeerRefusal::MissingCertificate.into(),
        Error::InvalidCertificate(c) => refusal(c).into(),
        Error::AlertReceived(alert) => HandshakeError::Alert(format!("{alert:?}")),
        Error::NoApplicationProtocol => HandshakeError::NoAlpn,
        other => HandshakeError::NotTls(other.to_string()),
    }
}

fn refusal(c: &CertificateError) -> PeerRefusal {
    match c {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => PeerRefusal::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            PeerRefusal::NotYetValid
        }
        CertificateError::UnknownIssuer => PeerRefusal::UnknownIssuer,
        CertificateError::BadSignature => PeerRefusal::BadSignature,
        CertificateError::Other(o) => match o.0.downcast_ref::<PeerRefusal>() {
            Some(r) => r.clone(),
            None => PeerRefusal::Other(o.0.to_string()),
        },
        other => PeerRefusal::Other(other.to_string()),
    }
}
