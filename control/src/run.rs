//! Puts the parts together and runs them until a signal.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use warren_admin::LogHandle;
use warren_api::r#gen::ca::istio_certificate_service_server::IstioCertificateServiceServer;

use crate::admin::{self, Sources};
use crate::auth::{self, Authenticator};
use crate::ca::service::Certificates;
use crate::ca::{Authority, files};
use crate::index::Config;
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, SharedIndex};
use crate::settings::{Settings, SourceSetting};
use crate::source::dir::DirSource;
use crate::source::{self, Source};
use crate::tls::{self, ServerCert};
use crate::warning::WarningStore;
use crate::xds::clients::Clients;
use crate::xds::server::{Allowed, Discovery};
use crate::xds::store::Store;

/// A CSR with its metadata is a few kilobytes.
const MAX_CSR: usize = 128 << 10;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(20);
/// Streams and calls of one connection.
const MAX_STREAMS: u32 = 1_000;
/// What is open when the end is asked for may take this long.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Runs the controller until SIGTERM or SIGINT.
///
/// # Errors
/// Something that it cannot work without: the source directory, the CA's files, an address.
pub async fn run(settings: Settings, log: LogHandle) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let authority = Arc::new(authority(&settings)?);
    publish_root(&settings, &authority)?;
    let listener = TcpListener::bind(settings.xds_addr)
        .await
        .with_context(|| format!("cannot listen on --xds-addr {}", settings.xds_addr))?;
    let (metrics, registry) = Metrics::new();
    let parts = Parts::new(&settings, authority, metrics);
    let (synced, source) = parts.start_source(&settings, &stop);

    let mut view = settings.view();
    admin::bound(&mut view, "xds", listener.local_addr()?);
    let sources = Sources {
        index: parts.index.clone(),
        warnings: parts.warnings.clone(),
        clients: parts.clients.clone(),
        synced: synced.clone(),
        certs: files::views(&parts.authority),
        settings: view,
        metrics: parts.metrics.clone(),
    };
    let table = admin::routes(sources, registry, log);
    let socket = settings.run_dir.join("control-admin.sock");
    table
        .serve_unix(&socket)
        .with_context(|| format!("cannot serve on {}", socket.display()))?;
    let debugging = table
        .serve_tcp(settings.debug_addr)
        .await
        .with_context(|| format!("cannot listen on --debug-addr {}", settings.debug_addr))?;
    tracing::info!(xds = %listener.local_addr()?, debug = %debugging, admin = %socket.display(), config = %serde_json::to_string(&settings.view())?, "starting");

    let server = tokio::spawn(
        parts
            .clone()
            .serve(settings, listener, synced, stop.clone()),
    );
    let ended = wait(source, &stop).await;
    stop.cancel();
    if tokio::time::timeout(SHUTDOWN_LIMIT, server).await.is_err() {
        tracing::warn!(
            "connections did not end within {} s and are cut off",
            SHUTDOWN_LIMIT.as_secs()
        );
    }
    ended
}

/// Waits for a signal, or for the source to fail.
async fn wait(
    source: JoinHandle<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        signal = warren_admin::shutdown::requested() => {
            tracing::info!(signal = signal?, "shutting down");
            stop.cancel();
            Ok(())
        }
        ended = source => ended.context("the source ended unexpectedly")?,
    }
}

fn authority(settings: &Settings) -> anyhow::Result<Authority> {
    let given = (&settings.ca_cert, &settings.ca_key, &settings.root_cert);
    let authority = match given {
        (Some(cert), Some(key), Some(root)) => files::load(&files::Given {
            cert: cert.clone(),
            key: key.clone(),
            root: root.clone(),
        }),
        _ => files::own(&settings.state_dir, &settings.trust_domain),
    };
    authority.context("cannot set up the CA")
}

/// Agents, tunnels and the CLI read the root from here.
fn publish_root(settings: &Settings, authority: &Authority) -> anyhow::Result<()> {
    let run = &settings.run_dir;
    std::fs::create_dir_all(run)
        .with_context(|| format!("cannot create --run-dir {}", run.display()))?;
    let path = run.join("root-cert.pem");
    files::write_atomic(&path, authority.root().as_bytes(), 0o644)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[derive(Clone)]
struct Parts {
    authority: Arc<Authority>,
    authenticator: Arc<Authenticator>,
    index: SharedIndex,
    store: Store,
    warnings: WarningStore,
    clients: Clients,
    metrics: Metrics,
}

impl Parts {
    fn new(settings: &Settings, authority: Arc<Authority>, metrics: Metrics) -> Self {
        let config = Config {
            cluster: settings.cluster_id.as_str().into(),
            trust_domain: settings.trust_domain.as_str().into(),
            cluster_domain: settings.cluster_domain.as_str().into(),
            ..Config::default()
        };
        let authenticator = Authenticator::new(auth::Settings {
            jwks: settings.jwks.clone(),
            issuer: settings.token_issuer.clone(),
            audiences: settings.audiences(),
        });
        Self {
            authority,
            authenticator: Arc::new(authenticator),
            index: SharedIndex::new(config),
            store: Store::default(),
            warnings: WarningStore::default(),
            clients: Clients::default(),
            metrics,
        }
    }

    fn start_source(
        &self,
        settings: &Settings,
        stop: &CancellationToken,
    ) -> (watch::Receiver<bool>, JoinHandle<anyhow::Result<()>>) {
        let (sender, batches) = mpsc::channel(source::QUEUE);
        let (synced, receiver) = watch::channel(false);
        let pipeline = Pipeline {
            index: self.index.clone(),
            store: self.store.clone(),
            warnings: self.warnings.clone(),
            metrics: self.metrics.clone(),
        };
        tokio::spawn(pipeline.run(batches, synced, stop.clone()));
        let SourceSetting::Dir(path) = &settings.source;
        let source = DirSource {
            path: path.clone(),
            warnings: self.warnings.clone(),
        };
        (receiver, tokio::spawn(source.run(sender, stop.clone())))
    }

    /// Serves xDS and CA. Not before the source was read once: a client that connects again would be told that all it
    /// has is gone.
    async fn serve(
        self,
        settings: Settings,
        listener: TcpListener,
        mut synced: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let Some(ready) = stop.run_until_cancelled(synced.wait_for(|s| *s)).await else {
            return Ok(());
        };
        drop(ready?);
        let names = settings.server_names();
        let certificate = ServerCert::issue(&self.authority, &names)?;
        let config = certificate.config()?;
        tokio::spawn(certificate.renew(self.authority.clone(), names, stop.clone()));
        let incoming = tls::accept(listener, config, stop.clone());
        let discovery = Discovery {
            store: self.store.clone(),
            authenticator: self.authenticator.clone(),
            allowed: Arc::new(Allowed(settings.xds_clients.clone())),
            clients: self.clients.clone(),
            metrics: self.metrics.clone(),
            stop: stop.clone(),
        };
        let certificates = Certificates {
            authority: self.authority.clone(),
            authenticator: self.authenticator.clone(),
            placement: Arc::new(self.index.clone()),
            tunnels: Arc::new(settings.tunnel_account.clone()),
            trust_domain: settings.trust_domain.as_str().into(),
            max_life: settings.cert_ttl,
            metrics: self.metrics.clone(),
        };
        let certificates =
            IstioCertificateServiceServer::new(certificates).max_decoding_message_size(MAX_CSR);
        Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_LIMIT))
            .max_concurrent_streams(MAX_STREAMS)
            .add_service(discovery)
            .add_service(certificates)
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.cancelled_owned())
            .await
            .context("the xDS server failed")
    }
}
