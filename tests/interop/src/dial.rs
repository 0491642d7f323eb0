//! Connections with limits.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::WireError;
use crate::grpc::Call;
use crate::h2::{Conn, Settings};
use crate::pki::read_certs;
use crate::tls::{self, Expect, Groups};

/// A client's TLS stream over TCP.
pub type Tls = TlsStream<TcpStream>;

/// TCP, from `bind` where given.
pub async fn tcp(
    to: SocketAddr,
    bind: Option<IpAddr>,
    limit: Duration,
) -> Result<TcpStream, WireError> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(ip) = bind {
        socket.bind((ip, 0).into())?;
    }
    let stream = timeout(limit, socket.connect(to))
        .await
        .map_err(|_| WireError::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS on top; `name` is checked only where the configuration expects a host.
pub async fn tls(
    tcp: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    limit: Duration,
) -> Result<Tls, WireError> {
    let handshake = TlsConnector::from(config).connect(name, tcp);
    Ok(timeout(limit, handshake)
        .await
        .map_err(|_| WireError::TimedOut)??)
}

/// How the controller is reached.
#[derive(Args, Clone, Debug)]
pub struct Controller {
    /// Its address, HOST:PORT.
    #[arg(long)]
    pub controller: String,
    /// PEM file of the root that its certificate must chain to.
    #[arg(long)]
    pub root_cert: PathBuf,
    /// Name that its certificate must hold; the host of --controller by default.
    #[arg(long)]
    pub server_name: Option<String>,
    /// File with the bearer token; none: no `authorization` header.
    #[arg(long)]
    pub token: Option<PathBuf>,
    /// The `clusterid` header.
    #[arg(long, default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Seconds that any answer may take.
    #[arg(long, default_value_t = 10.0)]
    pub limit: f64,
}

impl Controller {
    /// The limit of an answer.
    pub fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.limit)
    }

    fn host(&self) -> String {
        let host = self
            .controller
            .rsplit_once(':')
            .map_or(&*self.controller, |(h, _)| h);
        self.server_name
            .clone()
            .unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned())
    }

    /// A TLS connection that took the controller's certificate.
    pub async fn tls(&self) -> Result<Result<Tls, WireError>> {
        let host = self.host();
        let config = tls::client(
            &read_certs(&self.root_cert)?,
            None,
            Groups::Any,
            &Expect::Host(host.clone()),
            &["h2"],
        )?;
        let to = lookup_host(&self.controller)
            .await
            .with_context(|| format!("{} is not HOST:PORT", self.controller))?
            .next()
            .with_context(|| format!("{} has no address", self.controller))?;
        let name = ServerName::try_from(host).context("the server name is not a host name")?;
        Ok(match tcp(to, None, self.limit()).await {
            Ok(stream) => tls(stream, config, name, self.limit()).await,
            Err(error) => Err(error),
        })
    }

    /// Opens a call with the headers that a stock tunnel sends.
    pub async fn call(&self, path: &str) -> Result<Result<Call, WireError>> {
        let mut metadata = vec![("clusterid".to_owned(), self.cluster_id.clone())];
        if let Some(file) = &self.token {
            let token = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            metadata.push(("authorization".into(), format!("Bearer {}", token.trim())));
        }
        let stream = match self.tls().await? {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let settings = Settings {
            connection_window: 64 << 20,
            ..Settings::stock()
        };
        Ok(match Conn::client(stream, &settings).await {
            Ok(conn) => Call::open(conn, &self.host(), path, &metadata).await,
            Err(error) => Err(error),
        })
    }
}
