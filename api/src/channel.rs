//! Connections to the controller: TLS with a root read from a file, HTTP/2 with keepalive, and a bearer token.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where a controller is and how it is trusted. Both files are read again for each connection.
#[derive(Clone, Debug)]
pub struct Target {
    /// `https://host:port`; the server's certificate has to name the host.
    pub address: String,
    /// PEM file with the roots that the server's certificate has to chain to.
    pub root_cert: PathBuf,
    /// File with the bearer token; None sends none.
    pub token: Option<PathBuf>,
    /// Sent as `clusterid`; `Kubernetes` by default.
    pub cluster_id: String,
}

/// Why no connection could be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error("controller address `{address}`: {problem}; expected https://host:port")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// A file could not be read or holds nothing usable.
    #[error(
        "{path}: {problem}; the controller writes the root, and the platform the token: has it done so yet?"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// TLS could not be set up.
    #[error("TLS set-up failed: {0}")]
    Tls(#[from] rustls::Error),
}

impl Target {
    /// A channel that connects when it is first used, and again after it broke.
    ///
    /// # Errors
    /// The address is not `https://host[:port]`.
    pub fn channel(&self) -> Result<Channel, Error> {
        let (uri, server_name, authority) = self.parse()?;
        let root_cert = self.root_cert.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (root, name, authority) =
                (root_cert.clone(), server_name.clone(), authority.clone());
            async move { connect(&root, name, &authority).await.map(TokioIo::new) }
        });
        Ok(endpoint(uri).connect_with_connector_lazy(connector))
    }

    /// The headers of a call: `authorization` and `clusterid`.
    ///
    /// # Errors
    /// The token cannot be read or is not printable ASCII.
    pub fn headers(&self) -> Result<MetadataMap, Error> {
        let mut headers = MetadataMap::new();
        if let Some(path) = &self.token {
            let bad = |problem: String| Error::File {
                path: path.clone(),
                problem,
            };
            let token = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
            let value = AsciiMetadataValue::try_from(format!("Bearer {}", token.trim()));
            let mut value = value.map_err(|_| bad("is not a token".into()))?;
            value.set_sensitive(true);
            headers.insert("authorization", value);
        }
        let cluster = AsciiMetadataValue::try_from(self.cluster_id.as_str());
        let cluster = cluster.map_err(|_| Error::Address {
            address: self.address.clone(),
            problem: format!("cluster id `{}` is not printable", self.cluster_id),
        })?;
        headers.insert("clusterid", cluster);
        Ok(headers)
    }

    fn parse(&self) -> Result<(Uri, ServerName<'static>, String), Error> {
        let bad = |problem: String| Error::Address {
            address: self.address.clone(),
            problem,
        };
        let uri: Uri = self
            .address
            .parse()
            .map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("not https".into()));
        }
        let host = uri.host().ok_or_else(|| bad("no host".into()))?;
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(443));
        let name = ServerName::try_from(bare).map_err(|e| bad(e.to_string()))?;
        Ok((uri, name, authority))
    }
}

/// Reads the certificates of a PEM file; at least one.
///
/// # Errors
/// The file cannot be read, is no PEM, or holds no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |problem: String| Error::File {
        path: path.to_owned(),
        problem,
    };
    let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certs = certs.map_err(|e| bad(e.to_string()))?;
    if certs.is_empty() {
        return Err(bad("holds no certificate".into()));
    }
    Ok(certs)
}

/// The words of an error and of all its sources; tonic's own say little.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(e) = source {
        let words = e.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = e.source();
    }
    text
}

fn endpoint(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

async fn connect(
    root: &Path,
    name: ServerName<'static>,
    authority: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let config = client_config(root).map_err(io::Error::other)?;
    let tcp = TcpStream::connect(authority).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

fn client_config(root: &Path) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for cert in read_certificates(root)? {
        roots.add(cert).map_err(|e| Error::File {
            path: root.to_owned(),
            problem: e.to_string(),
        })?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
