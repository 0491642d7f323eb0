//! TLS of the xDS and CA server: its certificate from our own CA, renewed in place, and the connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::ca::{Signer, Subject};

mod limits;

pub use limits::Limits;
use limits::Slot;

/// Handshakes at once. One more ends the oldest: a client that means it needs milliseconds, so that those which stall go
/// first and cannot lock the others out.
const HANDSHAKES: usize = 256;
/// A handshake that takes longer is cut off.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Length of what HTTP/2 begins with (RFC 9113 §3.4); HTTP/1.1 begins with more. It has to be here within
/// [`HANDSHAKE_LIMIT`] of the TLS handshake's end; keep-alive watches only what comes behind it.
const PREFACE: usize = 24;
/// Life of the server's own certificate, which is renewed at half of it.
const SERVER_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Pause before another try where a renewal failed.
const RETRY: Duration = Duration::from_secs(30);

/// The client's address, as an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The certificate in use.
#[derive(Debug)]
pub struct ServerCert(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for ServerCert {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerCert {
    /// Gets the first certificate.
    ///
    /// # Errors
    /// The CA refuses, or a name is none.
    pub async fn issue(signer: &Signer, names: &[String]) -> anyhow::Result<Arc<Self>> {
        let key = certified(signer, names).await?;
        Ok(Arc::new(Self(ArcSwap::from_pointee(key))))
    }

    /// Renews the certificate at half of its life, and when the CA changes, until `stop`.
    pub async fn renew(
        self: Arc<Self>,
        signer: Signer,
        names: Vec<String>,
        stop: CancellationToken,
    ) {
        let mut pause = SERVER_LIFE / 2;
        let mut changes = signer.current().subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = changes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            match certified(&signer, &names).await {
                Ok(key) => {
                    self.0.store(Arc::new(key));
                    pause = SERVER_LIFE / 2;
                }
                Err(e) => {
                    tracing::error!(
                        "cannot renew the server's certificate: {e:#}; the old one stays in use"
                    );
                    pause = RETRY;
                }
            }
        }
    }

    /// TLS 1.3 for one protocol: `h2` or `http/1.1`.
    ///
    /// # Errors
    /// The library refuses its own defaults.
    pub fn config(self: &Arc<Self>, protocol: &str) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Arc::new(config))
    }
}

async fn certified(signer: &Signer, names: &[String]) -> anyhow::Result<CertifiedKey> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let subject = Subject::Server(names.to_vec());
    let signed = signer.sign_own(&key, &subject, SERVER_LIFE).await?;
    // The client has the root already.
    let sent = &signed.chain[..signed.chain.len() - 1];
    let chain = sent
        .iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)?;
    Ok(CertifiedKey::new(chain, signing))
}

/// Accepts connections and shakes hands, each on its own, until `stop`.
pub fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    limits: Limits,
    stop: CancellationToken,
) -> mpsc::Receiver<std::io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(16);
    let acceptor = TlsAcceptor::from(config);
    let mut handshakes = VecDeque::new();
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let Some(slot) = limits.admit(address.ip()) else {
                        tracing::warn!(%address, "too many connections, in all or from this address; closed");
                        continue;
                    };
                    let (acceptor, sender) = (acceptor.clone(), sender.clone());
                    make_room(&mut handshakes);
                    let task = tokio::spawn(async move {
                        if let Some(stream) = handshake(acceptor, stream, address).await {
                            // The server ended.
                            let _ = sender.send(Ok(Connection::new(stream, address, slot))).await;
                        }
                    });
                    handshakes.push_back(task.abort_handle());
                }
                Err(e) => {
                    tracing::warn!("cannot accept a connection: {e}; trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }));
    receiver
}

fn make_room(handshakes: &mut VecDeque<AbortHandle>) {
    if handshakes.len() >= HANDSHAKES {
        handshakes.retain(|task| !task.is_finished());
    }
    if handshakes.len() >= HANDSHAKES
        && let Some(oldest) = handshakes.pop_front()
    {
        tracing::debug!("{HANDSHAKES} TLS handshakes at once: the oldest is cut off");
        oldest.abort();
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(%address, "cannot set TCP_NODELAY: {e}");
    }
    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(e)) => {
            tracing::warn!(%address, "TLS handshake failed: {e}");
            None
        }
        Err(_) => {
            tracing::warn!(%address, "TLS handshake took longer than {} s", HANDSHAKE_LIMIT.as_secs());
            None
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    opening: Option<Pin<Box<Sleep>>>,
    begun: usize,
    _slot: Slot,
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, address: SocketAddr, slot: Slot) -> Self {
        Self {
            stream,
            peer: Peer(address),
            opening: Some(Box::pin(tokio::time::sleep(HANDSHAKE_LIMIT))),
            begun: 0,
            _slot: slot,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Some(limit) = &mut this.opening {
            this.begun += buf.filled().len() - before;
            if this.begun >= PREFACE {
                this.opening = None;
            } else if limit.as_mut().poll(cx).is_ready() {
                let address = this.peer.0;
                tracing::warn!(%address, "no request within {} s of the TLS handshake", HANDSHAKE_LIMIT.as_secs());
                return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
