//! A TLS server on loopback for services of this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use warren_api::channel::Target;

/// A root, and the files that a client needs.
pub struct Trust {
    pub dir: TempDir,
    pub issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Trust {
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key).expect("root");
        let trust = Self {
            dir: tempfile::tempdir().expect("dir"),
            issuer,
        };
        std::fs::write(trust.root_path(), trust.issuer.pem()).expect("write");
        std::fs::write(trust.token_path(), "first-token\n").expect("write");
        trust
    }

    pub fn root_path(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    pub fn token_path(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    pub fn target(&self, address: SocketAddr) -> Target {
        Target {
            address: format!("https://{address}"),
            root_cert: self.root_path(),
            token: Some(self.token_path()),
            cluster_id: "Kubernetes".into(),
        }
    }

    fn server_config(&self, san: &str) -> ServerConfig {
        let key = KeyPair::generate().expect("key");
        let params = CertificateParams::new([san.to_owned()]).expect("params");
        let cert = params.signed_by(&key, &self.issuer).expect("certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("config");
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// Serves until the handle is aborted; open connections then end as well.
pub async fn serve(
    trust: &Trust,
    address: &str,
    san: &str,
    routes: Routes,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("bind");
    let bound = listener.local_addr().expect("address");
    let acceptor = TlsAcceptor::from(Arc::new(trust.server_config(san)));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, routes) = (acceptor.clone(), routes.clone());
            connections.spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let service = TowerToHyperService::new(routes);
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(tls), service).await;
            });
        }
    });
    (bound, task)
}
