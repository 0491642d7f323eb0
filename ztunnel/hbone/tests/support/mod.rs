//! A certificate authority in memory, and an HBONE server on loopback that connects to what it is asked for.
#![allow(dead_code, missing_docs)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, StatusCode};
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use warren_core::Identity;
use warren_hbone::Early;
use warren_hbone::pool::{ConnectHead, Opened};
use warren_hbone::tls::{self, Accepted, Encrypted};
use warren_hbone::{
    Authority, ConnectRequest, Counters, Expect, Handler, HandshakeError, Limits, OpenError, Pool,
    PoolKey, Trust, WorkloadCert, copy, serve,
};

pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub root: CertificateDer<'static>,
}

impl Ca {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    pub fn trust(&self) -> Arc<Trust> {
        Arc::new(Trust::new(std::slice::from_ref(&self.root)).unwrap())
    }

    pub fn issue(&self, spiffe: &str) -> WorkloadCert {
        self.issue_with(spiffe, |_| {})
    }

    pub fn issue_with(
        &self,
        spiffe: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> WorkloadCert {
        let (chain, key) = self.issue_raw(&[spiffe], change);
        WorkloadCert::new(chain, key).unwrap()
    }

    pub fn issue_raw(
        &self,
        uris: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|u| SanType::URI(Ia5String::try_from(*u).unwrap()))
            .collect();
        params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
        params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
    }
}

pub fn spiffe(name: &str) -> String {
    format!("spiffe://cluster.local/ns/shop/sa/{name}")
}

pub fn id(name: &str) -> Identity {
    spiffe(name).parse().unwrap()
}

/// Short times, so that tests of time limits are quick.
pub fn limits() -> Limits {
    Limits {
        handshake: Duration::from_millis(600),
        response: Duration::from_secs(5),
        ..Limits::default()
    }
}

pub struct Server {
    pub addr: SocketAddr,
    /// How each connection ended.
    pub ends: mpsc::UnboundedReceiver<Result<(), HandshakeError>>,
    pub connections: Arc<AtomicUsize>,
    pub malformed: mpsc::UnboundedReceiver<&'static str>,
    pub drain: watch::Sender<bool>,
}

struct Relay {
    malformed: mpsc::UnboundedSender<&'static str>,
}

impl Handler for Relay {
    fn connect(&self, request: ConnectRequest) {
        tokio::spawn(relay(request));
    }

    fn malformed(&self, why: &'static str) {
        let _ = self.malformed.send(why);
    }
}

async fn relay(request: ConnectRequest) {
    let Authority::Socket(to) = request.authority else {
        return request.refuse(StatusCode::BAD_REQUEST);
    };
    match TcpStream::connect(to).await {
        Ok(mut app) => {
            let mut tunnel = request.accept(HeaderValue::from_static("k=v")).unwrap();
            if copy(&mut app, &mut tunnel, &Counters::default())
                .await
                .is_err()
            {
                reset(&app);
            }
        }
        // It accepted, and hung up before anybody looked.
        Err(e) if e.kind() == ErrorKind::ConnectionReset => request.refuse(StatusCode::BAD_GATEWAY),
        Err(_) => request.refuse(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Makes the close of a socket a reset.
pub fn reset(s: &TcpStream) {
    s.set_zero_linger().unwrap();
}

impl Server {
    pub async fn start(ca: &Ca, cert: WorkloadCert) -> Self {
        Self::start_with(ca.trust(), cert, limits()).await
    }

    pub async fn start_with(trust: Arc<Trust>, cert: WorkloadCert, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (ends_tx, ends) = mpsc::unbounded_channel();
        let (malformed_tx, malformed) = mpsc::unbounded_channel();
        let (drain, drain_rx) = watch::channel(false);
        let connections = Arc::new(AtomicUsize::new(0));
        let (cert, count) = (Arc::new(cert), connections.clone());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let (cert, trust, limits, ends) =
                    (cert.clone(), trust.clone(), limits.clone(), ends_tx.clone());
                let (mut drain, count) = (drain_rx.clone(), count.clone());
                let relay = Relay {
                    malformed: malformed_tx.clone(),
                };
                tokio::spawn(async move {
                    let end = async {
                        let tls = tls::accept(tcp, &cert, &trust, limits.handshake).await?;
                        count.fetch_add(1, Ordering::SeqCst);
                        let drain = async move {
                            drop(drain.wait_for(|d| *d).await);
                            Some(Duration::from_millis(700))
                        };
                        serve(tls.stream, &limits, drain, &relay).await
                    };
                    let end = end.await;
                    let _ = ends.send(end);
                });
            }
        });
        Self {
            addr,
            ends,
            connections,
            malformed,
            drain,
        }
    }
}

pub struct Client {
    pub pool: Pool,
    pub cert: Arc<WorkloadCert>,
    pub trust: Arc<Trust>,
    pub expect: Expect,
    pub limits: Limits,
}

impl Client {
    pub fn new(ca: &Ca, cert: WorkloadCert, expect: Expect) -> Self {
        Self {
            pool: Pool::new(limits()),
            cert: Arc::new(cert),
            trust: ca.trust(),
            expect,
            limits: limits(),
        }
    }

    pub async fn open(&self, server: SocketAddr, authority: &str) -> Result<Opened, OpenError> {
        self.open_with(server, authority, &mut Early::none()).await
    }

    pub async fn open_with<S: AsyncRead + Unpin>(
        &self,
        server: SocketAddr,
        authority: &str,
        early: &mut Early<S>,
    ) -> Result<Opened, OpenError> {
        let key = PoolKey {
            source: self.cert.identity.clone(),
            pod: "pod".into(),
            lane: 0,
            destination: server,
            expect: self.expect.clone(),
        };
        let head = ConnectHead {
            authority: authority.into(),
            headers: Default::default(),
        };
        self.pool
            .open(&key, &head, early, || self.dial(server))
            .await
    }

    pub async fn dial(
        &self,
        server: SocketAddr,
    ) -> Result<Accepted<Encrypted<TcpStream>>, OpenError> {
        let tcp = TcpStream::connect(server)
            .await
            .map_err(|e| OpenError::Connect {
                to: server,
                kind: e.kind(),
                error: e.to_string(),
            })?;
        tcp.set_nodelay(true).unwrap();
        Ok(tls::connect(
            tcp,
            &self.cert,
            &self.trust,
            self.expect.clone(),
            self.limits.handshake,
        )
        .await?)
    }

    /// A local socket whose other end is tunnelled to `target`.
    pub async fn tunnel(&self, server: SocketAddr, target: SocketAddr) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (local, _) = listener.accept().await.unwrap();
        let mut local = Early::new(local);
        let authority = target.to_string();
        let opened = self.open_with(server, &authority, &mut local).await;
        let mut opened = opened.unwrap();
        tokio::spawn(async move {
            if copy(&mut local, &mut opened.tunnel, &Counters::default())
                .await
                .is_err()
            {
                reset(local.get_ref());
            }
        });
        app
    }
}
