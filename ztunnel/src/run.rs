//! Puts the process together: one runtime carries connections, another does everything else.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;
use warren_admin::types::Timestamp;
use warren_admin::{LogHandle, shutdown};
use warren_api::ca::CaClient;
use warren_api::channel::{Target, read_certificates};
use warren_api::xds;
use warren_core::balance::AffinityTable;
use warren_hbone::{Limits, Pool, Trust};

use crate::admin::{Views, admin, config, metrics_only, readiness_only};
use crate::agent::Agent;
use crate::certs::Certs;
use crate::context::Context;
use crate::lanes::Lanes;
use crate::memory::{Tide, give_back, keep_freed_memory};
use crate::missed::Missed;
use crate::net::{SocketMaker, SocketOptions};
use crate::places::Places;
use crate::record::{Keeper, LogWriter, Metrics};
use crate::settings::Settings;
use crate::{control, state::State};

/// Clients whose endpoint is remembered, for services with affinity.
const AFFINITY_ENTRIES: usize = 64 << 10;
/// How often live connections and certificates are taken over into metrics.
const OBSERVE: Duration = Duration::from_secs(1);
/// The controller writes its root at its first start, which may be after ours.
const ROOT_PAUSE: Duration = Duration::from_millis(200);

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(settings: Settings, log: LogHandle) -> anyhow::Result<()> {
    raise_fd_limit();
    keep_freed_memory();
    let (lanes, threads) = Lanes::start(settings.workers.into())
        .context("starting the threads that carry connections")?;
    let control = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the control runtime")?;
    let result = control.block_on(serve(Arc::new(settings), log, lanes));
    threads.stop();
    result
}

async fn serve(settings: Arc<Settings>, log: LogHandle, lanes: Lanes) -> anyhow::Result<()> {
    tracing::info!(settings = %serde_json::to_string(&config(&settings))?, "starting");
    let end = tokio::spawn(shutdown::requested());
    let trust = tokio::select! {
        trust = first_roots(&settings.root_cert) => Arc::new(trust),
        _ = shutdown::requested() => return Ok(()),
    };
    let mut metrics_registry = MetricsRegistry::default();
    warren_admin::process::register(&mut metrics_registry);
    let metrics = Metrics::new(&mut metrics_registry);
    let cx = context(&settings, metrics, trust)?;
    let (client, updates) = xds::Client::new(xds_config(&settings));
    let pods_changed = Arc::new(Notify::new());
    let agent = Agent {
        cx: cx.clone(),
        path: settings.run_dir.join("agent.sock"),
        lanes,
        maker: SocketMaker::start().context("starting the thread that makes sockets")?,
        instance: format!("{:016x}", rand::random::<u64>()),
        pods_changed: pods_changed.clone(),
    };
    let views = Views {
        cx: cx.clone(),
        xds: client,
        settings: settings.clone(),
        started: Timestamp::now(),
    };
    show(&views, Arc::new(metrics_registry), log).await?;
    tokio::spawn(control::apply(cx.clone(), updates));
    tokio::spawn(control::keep_certificates(cx.clone(), pods_changed));
    tokio::spawn(control::await_certificates(cx.clone()));
    tokio::spawn(observe(views));
    tokio::spawn(agent.run());
    let signal = end.await??;
    drain(&cx, signal, settings.drain_timeout).await;
    Ok(())
}

fn context(
    settings: &Settings,
    metrics: Metrics,
    trust: Arc<Trust>,
) -> anyhow::Result<Arc<Context>> {
    let limits = Limits::default();
    let writer =
        LogWriter::start(settings.access_log).context("starting the access log's thread")?;
    let (registry, keeper) = Keeper::new(metrics.clone(), writer);
    tokio::spawn(keeper.run());
    let ca = CaClient::new(target(
        settings,
        settings.ca.as_ref().unwrap_or(&settings.xds),
    ))?;
    Ok(Arc::new(Context {
        state: Arc::new(State::default()),
        kernel: Arc::new(SocketOptions),
        pods: Default::default(),
        certs: Certs::new(
            Arc::new(ca),
            trust.clone(),
            settings.cert_ttl,
            Handle::current(),
        ),
        trust,
        pool: Pool::new(limits.clone()),
        limits,
        registry,
        metrics,
        complaints: Default::default(),
        handshakes: crate::context::handshakes(),
        peers: Places::new(usize::MAX, usize::from(settings.max_peer_connections)),
        affinity: AffinityTable::new(AFFINITY_ENTRIES).into(),
        drain: CancellationToken::new(),
        drain_limit: settings.drain_timeout,
        agent_synced: AtomicBool::new(false),
        certified: AtomicBool::new(false),
        agent_connected: AtomicBool::new(false),
        missed: Missed::default(),
    }))
}

async fn show(views: &Views, metrics: Arc<MetricsRegistry>, log: LogHandle) -> anyhow::Result<()> {
    let s = &views.settings;
    let all = admin(views, metrics.clone(), log);
    let socket = s.run_dir.join("ztunnel-admin.sock");
    all.serve_unix(&socket)
        .with_context(|| format!("serving admin on {}", socket.display()))?;
    let admin = all
        .serve_tcp(s.admin_addr)
        .await
        .with_context(|| format!("serving admin on {}", s.admin_addr))?;
    let metrics = metrics_only(metrics).serve_tcp(s.metrics_addr).await;
    let metrics = metrics.with_context(|| format!("serving metrics on {}", s.metrics_addr))?;
    let readiness = readiness_only(views).serve_tcp(s.readiness_addr).await;
    let readiness =
        readiness.with_context(|| format!("serving readiness on {}", s.readiness_addr))?;
    tracing::info!(socket = %socket.display(), %admin, %metrics, %readiness, "serving");
    Ok(())
}

/// Waits for the root bundle, which the controller writes at its first start.
async fn first_roots(path: &Path) -> Trust {
    let mut complained = false;
    loop {
        let roots = read_certificates(path).map_err(anyhow::Error::from);
        match roots.and_then(|r| Ok(Trust::new(&r)?)) {
            Ok(trust) => return trust,
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(%error, "no root certificate yet; waiting for it");
            }
            Err(_) => {}
        }
        sleep(ROOT_PAUSE).await;
    }
}

fn target(s: &Settings, address: &str) -> Target {
    Target {
        address: address.to_owned(),
        root_cert: s.root_cert.clone(),
        token: s.token.clone(),
        cluster_id: s.cluster_id.clone(),
    }
}

fn xds_config(s: &Settings) -> xds::Config {
    let node = xds::NodeInfo {
        ip: s.pod_ip,
        pod: s
            .pod_name
            .clone()
            .unwrap_or_else(|| format!("warren-ztunnel-{}", s.node)),
        namespace: s.pod_namespace.clone(),
        node: s.node.clone(),
        metadata: Default::default(),
    };
    xds::Config::new(target(s, &s.xds), node)
}

async fn observe(views: Views) {
    let (cx, m) = (&views.cx, &views.cx.metrics);
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut tick = interval(OBSERVE);
    let mut tide = Tide::default();
    loop {
        tick.tick().await;
        m.observe(&cx.registry);
        if tide.has_fallen(cx.registry.len()) {
            give_back();
        }
        let (conns, streams) = cx.pool.size();
        m.pool_connections.set(count(conns));
        m.pool_streams.set(count(streams));
        m.pods.set(count(cx.pods.all().len()));
        m.record_queue.set(count(cx.registry.waiting()));
        m.handshakes_in_flight.set(count(cx.handshakes.taken()));
        m.log_lost
            .set(i64::try_from(cx.registry.lost()).unwrap_or(i64::MAX));
        m.xds_connected
            .set(views.xds.status().connected_since.is_some().into());
        let now = SystemTime::now();
        let certs = cx.certs.all().into_iter();
        let left: Vec<f64> = certs
            .filter_map(|(_, s)| Some(s.cert?.not_after.duration_since(now).ok()?.as_secs_f64()))
            .collect();
        m.certs_valid.set(count(left.len()));
        m.cert_seconds_left
            .set(left.into_iter().reduce(f64::min).unwrap_or(0.0));
    }
}

/// Peers are told to open no more streams; what is under way, a handshake included, may end by itself for a while; the
/// rest is reset.
async fn drain(cx: &Context, signal: &str, limit: Duration) {
    tracing::info!(signal, live = cx.registry.len(), "draining");
    let pods = cx.pods.all();
    let busy = || pods.iter().any(|p| p.live() > 0) || !cx.registry.is_empty();
    cx.drain.cancel();
    wait_while(&busy, limit).await;
    let left = cx.registry.len();
    cx.registry.end_all();
    wait_while(&|| !cx.registry.is_empty(), Duration::from_secs(1)).await;
    tracing::info!(reset = left, "drained");
}

async fn wait_while(busy: &dyn Fn() -> bool, limit: Duration) {
    let until = Instant::now() + limit;
    while busy() && Instant::now() < until {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Two descriptors a connection: the usual soft limit is low, the hard one is not.
fn raise_fd_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
        .map_err(io::Error::from);
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
