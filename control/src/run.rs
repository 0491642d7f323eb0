//! Puts the parts together and runs them until a signal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use warren_admin::LogHandle;
use warren_api::r#gen::ca::istio_certificate_service_server::IstioCertificateServiceServer;

use crate::admin::{self, Sources};
use crate::admission::server::Webhook;
use crate::auth::jwks::Jwks;
use crate::auth::review::Review;
use crate::auth::{self, Authenticator};
use crate::ca::service::Certificates;
use crate::ca::{Authority, Current, Signer, files};
use crate::index::Config;
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, SharedIndex};
use crate::settings::{Settings, SourceSetting};
use crate::source::dir::DirSource;
use crate::source::kubernetes::KubeSource;
use crate::source::{self, Source};
use crate::status::Board;
use crate::tls::{self, Limits, ServerCert};
use crate::warning::WarningStore;
use crate::xds::clients::Clients;
use crate::xds::server::{Allowed, Discovery};
use crate::xds::store::Store;

mod cluster;

use cluster::{Cluster, Writing};

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
    let cluster = match settings.source {
        SourceSetting::Kubernetes => Some(Cluster::connect(&settings).await?),
        SourceSetting::Dir(_) => None,
    };
    let signer = tokio::select! {
        signer = signer(&settings, cluster.as_ref()) => signer?,
        signal = warren_admin::shutdown::requested() => {
            tracing::info!(signal = signal?, "shutting down");
            return Ok(());
        }
    };
    publish_root(&settings.run_dir, &signer.current().get())?;
    tokio::spawn(keep_root(
        settings.run_dir.clone(),
        signer.current().clone(),
        stop.clone(),
    ));
    let listeners = Listeners::bind(&settings).await?;
    let (metrics, registry) = Metrics::new();
    let parts = Parts::new(&settings, cluster, signer, metrics)?;
    let (synced, source) = parts.start_source(&settings, &stop);
    parts
        .show(&settings, &listeners, synced.clone(), registry, log)
        .await?;
    let writers = parts.start_writers(&settings, synced.clone(), &stop);
    let server = tokio::spawn(
        parts
            .clone()
            .serve(settings, listeners, synced, stop.clone()),
    );
    let ended = wait(source, &stop).await;
    stop.cancel();
    let connections = async { drop(tokio::join!(server, writers.join_all())) };
    if tokio::time::timeout(SHUTDOWN_LIMIT, connections)
        .await
        .is_err()
    {
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

async fn signer(settings: &Settings, cluster: Option<&Cluster>) -> anyhow::Result<Signer> {
    if let (Some(issuer), Some(cluster)) = (&settings.cert_manager_issuer, cluster) {
        return Ok(cluster.issuer(settings, issuer).await);
    }
    let given = (&settings.ca_cert, &settings.ca_key, &settings.root_cert);
    let authority = match (given, cluster) {
        ((Some(cert), Some(key), Some(root)), _) => files::load(&files::Given {
            cert: cert.clone(),
            key: key.clone(),
            root: root.clone(),
        })
        .map_err(anyhow::Error::from),
        (_, Some(cluster)) => cluster.keeper(settings).load().await,
        _ => files::own(&settings.state_dir, &settings.trust_domain).map_err(anyhow::Error::from),
    };
    let authority = authority.context("cannot set up the CA")?;
    Ok(Signer::own(Current::new(authority)))
}

/// Agents, tunnels and the CLI on this machine read the root from here.
fn publish_root(run: &Path, authority: &Authority) -> anyhow::Result<()> {
    std::fs::create_dir_all(run)
        .with_context(|| format!("cannot create --run-dir {}", run.display()))?;
    let path = run.join("root-cert.pem");
    files::write_atomic(&path, authority.root().as_bytes(), 0o644)
        .with_context(|| format!("cannot write {}", path.display()))
}

async fn keep_root(run: PathBuf, authority: Current, stop: CancellationToken) {
    let mut changes = authority.subscribe();
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        if let Err(e) = publish_root(&run, &authority.get()) {
            tracing::error!("{e:#}; the old root stays there");
        }
    }
}

/// Bound before anything else is done, so that an address in use is told at once.
struct Listeners {
    xds: TcpListener,
    webhook: Option<TcpListener>,
}

impl Listeners {
    async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let xds = listen("--xds-addr", settings.xds_addr).await?;
        let webhook = match settings.webhook_addr {
            Some(address) => Some(listen("--webhook-addr", address).await?),
            None => None,
        };
        Ok(Self { xds, webhook })
    }
}

async fn listen(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {flag} {address}"))
}

#[derive(Clone)]
struct Parts {
    cluster: Option<Cluster>,
    signer: Signer,
    authenticator: Arc<Authenticator>,
    index: SharedIndex,
    store: Store,
    warnings: WarningStore,
    board: Board,
    clients: Clients,
    metrics: Metrics,
}

impl Parts {
    fn new(
        settings: &Settings,
        cluster: Option<Cluster>,
        signer: Signer,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let config = Config {
            cluster: settings.cluster_id.as_str().into(),
            trust_domain: settings.trust_domain.as_str().into(),
            cluster_domain: settings.cluster_domain.as_str().into(),
            root_namespace: settings.root_namespace.as_str().into(),
            leaving: settings.leave,
            namespaces_come: cluster.is_some(),
        };
        let index = SharedIndex::new(config);
        let authenticator = match (&settings.jwks, &cluster) {
            (Some(jwks), _) => Authenticator::Jwks(Jwks::new(auth::Settings {
                jwks: jwks.clone(),
                issuer: settings.token_issuer.clone(),
                audiences: settings.audiences(),
            })),
            (None, Some(cluster)) => Authenticator::Review(Box::new(Review::new(
                cluster.client.clone(),
                settings.audiences(),
                Arc::new(index.clone()),
            ))),
            (None, None) => anyhow::bail!("nothing can check tokens: give --jwks"),
        };
        let board = Board::default();
        Ok(Self {
            cluster,
            signer,
            authenticator: Arc::new(authenticator),
            index,
            store: Store::default(),
            warnings: WarningStore::new(board.clone()),
            board,
            clients: Clients::default(),
            metrics,
        })
    }

    /// Serves metrics and the admin surface.
    async fn show(
        &self,
        settings: &Settings,
        listeners: &Listeners,
        synced: watch::Receiver<bool>,
        registry: Arc<Registry>,
        log: LogHandle,
    ) -> anyhow::Result<()> {
        let mut view = settings.view();
        admin::bound(&mut view, "xds", listeners.xds.local_addr()?);
        if let Some(webhook) = &listeners.webhook {
            admin::bound(&mut view, "webhook", webhook.local_addr()?);
        }
        if let Some(address) = settings.metrics_addr {
            let bound = admin::open_routes(synced.clone(), registry.clone())
                .serve_tcp(address)
                .await
                .with_context(|| format!("cannot listen on --metrics-addr {address}"))?;
            admin::bound(&mut view, "metrics", bound);
        }
        let sources = Sources {
            index: self.index.clone(),
            warnings: self.warnings.clone(),
            clients: self.clients.clone(),
            synced,
            authority: self.signer.current().clone(),
            settings: view,
            metrics: self.metrics.clone(),
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
        tracing::info!(xds = %listeners.xds.local_addr()?, debug = %debugging, admin = %socket.display(), config = %serde_json::to_string(&settings.view())?, "starting");
        Ok(())
    }

    /// Starts what writes to the API server.
    fn start_writers(
        &self,
        settings: &Settings,
        synced: watch::Receiver<bool>,
        stop: &CancellationToken,
    ) -> JoinSet<()> {
        let Some(cluster) = &self.cluster else {
            return JoinSet::new();
        };
        let writing = Writing {
            board: self.board.clone(),
            warnings: self.warnings.clone(),
            authority: self.signer.current().clone(),
            metrics: self.metrics.clone(),
            synced,
        };
        cluster.start_writers(settings, writing, stop)
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
            board: self.board.clone(),
            metrics: self.metrics.clone(),
        };
        tokio::spawn(pipeline.run(batches, synced, stop.clone()));
        let warnings = self.warnings.clone();
        let task = match (&settings.source, &self.cluster) {
            (SourceSetting::Dir(path), _) => {
                let path = path.clone();
                tokio::spawn(DirSource { path, warnings }.run(sender, stop.clone()))
            }
            (SourceSetting::Kubernetes, None) => {
                tokio::spawn(async { anyhow::bail!("no connection to an API server") })
            }
            (SourceSetting::Kubernetes, Some(cluster)) => {
                let source = KubeSource {
                    client: cluster.client.clone(),
                    warnings,
                    metrics: self.metrics.clone(),
                };
                tokio::spawn(source.run(sender, stop.clone()))
            }
        };
        (receiver, task)
    }

    /// Serves xDS and CA. Not before the source was read once: a client that connects again would be told that all it
    /// has is gone.
    async fn serve(
        self,
        settings: Settings,
        listeners: Listeners,
        mut synced: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let Some(ready) = stop.run_until_cancelled(synced.wait_for(|s| *s)).await else {
            return Ok(());
        };
        drop(ready?);
        let names = settings.server_names();
        let certificate = ServerCert::issue(&self.signer, &names).await?;
        let config = certificate.config("h2")?;
        let webhook = self.serve_webhook(listeners.webhook, &certificate, &stop)?;
        tokio::spawn(certificate.renew(self.signer.clone(), names, stop.clone()));
        let incoming = tls::accept(listeners.xds, config, Limits::default(), stop.clone());
        let discovery = Discovery {
            store: self.store.clone(),
            authenticator: self.authenticator.clone(),
            allowed: Arc::new(Allowed(settings.xds_clients.clone())),
            clients: self.clients.clone(),
            metrics: self.metrics.clone(),
            stop: stop.clone(),
        };
        let certificates = Certificates {
            signer: self.signer.clone(),
            authenticator: self.authenticator.clone(),
            placement: Arc::new(self.index.clone()),
            knows_all_pods: self.cluster.is_some(),
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
            .context("the xDS server failed")?;
        webhook.join_all().await;
        Ok(())
    }

    /// The webhook has the certificate of xDS: its name is the same Service.
    fn serve_webhook(
        &self,
        listener: Option<TcpListener>,
        certificate: &Arc<ServerCert>,
        stop: &CancellationToken,
    ) -> anyhow::Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        if let Some(listener) = listener {
            let config = certificate.config("http/1.1")?;
            let incoming = tls::accept(listener, config, Webhook::limits(), stop.clone());
            let webhook = Webhook::new(self.index.clone(), self.metrics.clone());
            tasks.spawn(webhook.serve(incoming, stop.clone()));
        }
        Ok(tasks)
    }
}
