//! The admin surface: `RUN/agent-admin.sock`, and metrics over TCP.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use warren_abi::DirectConn;
use warren_admin::types::{
    ComponentStatus, ConfigView, ConnectionView, PodCounts, PolicyView, ServiceView, Timestamp,
    WorkloadView,
};
use warren_admin::{Admin, LogHandle, RouteError};
use warren_api::xds;
use warren_core::Mesh;

use crate::accounting::{LogWriter, Metrics, Names};
use crate::bpf::{Pins, observe};
use crate::node::{Input, View};
use crate::pods::Stage;
use crate::settings::Settings;
use crate::sockdiag::pair;

use leaving::Readiness;

mod leaving;
mod log_level;

/// Where the answers come from.
#[derive(Clone)]
pub struct Sources {
    /// The node.
    pub inputs: mpsc::Sender<Input>,
    /// The model.
    pub mesh: Arc<RwLock<Mesh>>,
    /// What numbers stand for.
    pub names: Arc<Names>,
    /// The maps.
    pub pins: Pins,
    /// The stream from the controller.
    pub client: xds::Client,
    /// The settings.
    pub settings: Settings,
    /// When the process started.
    pub started: Timestamp,
    /// The access log.
    pub writer: LogWriter,
}

/// `PUT /direct-flows` and `/kernel-log`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct OnOff {
    on: bool,
}

/// Starts serving.
///
/// # Errors
/// A socket or address cannot be bound.
pub async fn serve(
    sources: Sources,
    log: LogHandle,
    registry: Registry,
    metrics: Metrics,
) -> anyhow::Result<()> {
    let registry = Arc::new(registry);
    let (run_dir, address) = (
        sources.settings.run_dir.clone(),
        sources.settings.metrics_addr,
    );
    let readiness = Readiness::new(sources.settings.cni_remove_on_exit);
    tokio::spawn(keep_gauges(sources.clone(), metrics, readiness.clone()));
    let admin = log_level::add(routes(sources.clone()), sources, log).metrics(registry.clone());
    let path = run_dir.join("agent-admin.sock");
    admin
        .serve_unix(&path)
        .with_context(|| format!("{}", path.display()))?;
    if let Some(address) = address {
        let metrics = Admin::new("agent")
            .metrics(registry)
            .ready(move || readiness.check());
        let bound = metrics
            .serve_tcp(address)
            .await
            .with_context(|| format!("--metrics-addr {address}"))?;
        tracing::info!(%bound, "serving metrics");
    }
    Ok(())
}

fn routes(s: Sources) -> Admin {
    let with = |f: fn(Sources) -> _| {
        let s = s.clone();
        move || std::future::ready(f(s.clone()))
    };
    let policies = with_policies(s.clone());
    let (a, b, c, d, e) = (s.clone(), s.clone(), s.clone(), s.clone(), s.clone());
    Admin::new("agent")
        .try_route("/status", move || status(a.clone()))
        .try_route("/pods", move || look(b.clone()))
        .try_route("/workloads", move || workloads(c.clone()))
        .route("/services", with(services))
        .route("/policies", policies)
        .route("/connections", {
            let s = s.clone();
            move || std::future::ready(connections(&s))
        })
        .route("/maps", {
            let s = s.clone();
            move || std::future::ready(observe::usage(&s.pins))
        })
        .route("/config", {
            let s = s.clone();
            move || std::future::ready(config(&s.settings))
        })
        .put("/direct-flows", move |body: OnOff| {
            switch(d.clone(), Input::DirectFlows(body.on))
        })
        .put("/kernel-log", move |body: OnOff| {
            switch(e.clone(), Input::KernelLog(body.on))
        })
}

fn with_policies(
    s: Sources,
) -> impl Fn() -> std::future::Ready<Vec<PolicyView>> + Send + Sync + 'static {
    move || {
        let mesh = s.mesh.read();
        let mut all: Vec<_> = mesh.policies().map(|p| PolicyView::from(&**p)).collect();
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        std::future::ready(all)
    }
}

fn services(s: Sources) -> Vec<ServiceView> {
    let mesh = s.mesh.read();
    let one = |service: &Arc<warren_core::Service>| {
        let mut view = ServiceView::from(&**service);
        view.endpoints = Some(mesh.endpoints(&service.key()).count());
        view
    };
    let mut all: Vec<_> = mesh.services().map(one).collect();
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all
}

async fn look(s: Sources) -> Result<View, RouteError> {
    let (reply, view) = oneshot::channel();
    let gone = |_| RouteError::unavailable("the agent is stopping");
    s.inputs
        .send(Input::Look(reply))
        .await
        .map_err(|_| RouteError::unavailable("the agent is stopping"))?;
    view.await.map_err(gone)
}

async fn status(s: Sources) -> Result<ComponentStatus, RouteError> {
    let view = look(s.clone()).await?;
    let xds = s.client.status();
    let mut status = ComponentStatus::new("agent");
    status.started = s.started;
    status.node = Some(view.node.clone());
    let mut waiting = Vec::new();
    if !(view.policies_synced && view.addresses_synced) {
        waiting.push("the controller's first answer".to_owned());
    }
    if view.tunnel.is_none() {
        waiting.push("a tunnel".to_owned());
    }
    status.ready = waiting.is_empty();
    status.waiting_for = waiting;
    status.xds = Some((&xds).into());
    status.pods = Some(counts(&view));
    status.details = details(&view, &s);
    Ok(status)
}

fn counts(view: &View) -> PodCounts {
    let mut counts = PodCounts::default();
    for pod in view
        .pods
        .iter()
        .filter(|p| p.wanted == Some(true) || p.stage == Stage::Enrolled)
    {
        match (pod.stage, &pod.error) {
            (Stage::Enrolled, _) => counts.enrolled += 1,
            (_, Some(_)) => counts.failed += 1,
            _ => counts.pending += 1,
        }
    }
    counts
}

fn details(view: &View, s: &Sources) -> BTreeMap<String, String> {
    let on = |b: bool| if b { "on" } else { "off" }.to_owned();
    let mut details = BTreeMap::from([
        ("direct flows".to_owned(), on(view.direct_flows)),
        ("kernel log".to_owned(), on(view.kernel_log)),
        ("generation".to_owned(), view.generation.to_string()),
        (
            "kernel services".to_owned(),
            view.kernel_services.to_string(),
        ),
        (
            "tunnel".to_owned(),
            view.tunnel.clone().unwrap_or_else(|| "none".into()),
        ),
        ("remembered pods".to_owned(), view.pods.len().to_string()),
    ]);
    if view.failing_pairs > 0 {
        details.insert(
            "pairs without direct flows".into(),
            view.failing_pairs.to_string(),
        );
    }
    if view.kernel_errors > 0 {
        details.insert(
            "changes refused by the kernel".into(),
            view.kernel_errors.to_string(),
        );
    }
    let lost = s.writer.lost().load(Ordering::Relaxed);
    if lost > 0 {
        details.insert("log lines lost".into(), lost.to_string());
    }
    details
}

/// The workloads of this node that the agent remembers.
async fn workloads(s: Sources) -> Result<Vec<WorkloadView>, RouteError> {
    let view = look(s.clone()).await?;
    let mesh = s.mesh.read();
    let known = |p: &crate::node::PodView| {
        mesh.workload(&p.workload.as_str().into())
            .map(|w| WorkloadView::from(&**w))
    };
    Ok(view.pods.iter().filter_map(known).collect())
}

/// The live direct flows. Bytes are known at their end only.
fn connections(s: &Sources) -> Vec<ConnectionView> {
    let now = (observe::monotonic(), SystemTime::now());
    observe::direct_conns(&s.pins)
        .iter()
        .map(|conn| connection(conn, &s.names, now))
        .collect()
}

fn connection(
    conn: &DirectConn,
    names: &Names,
    (ticks, now): (Duration, SystemTime),
) -> ConnectionView {
    let (client, server): (IpAddr, IpAddr) = (conn.flow.client.into(), conn.flow.server.into());
    let (source, destination): (SocketAddr, SocketAddr) = pair(
        (client, conn.flow.client_port),
        (server, conn.flow.server_port),
    );
    let identity = |number, address| {
        names
            .party(number, address)
            .workload
            .map(|w| w.identity().to_string())
    };
    let age = ticks.saturating_sub(Duration::from_nanos(conn.start_ns));
    ConnectionView {
        direction: "outbound".into(),
        path: "direct".into(),
        source,
        destination,
        upstream: None,
        source_identity: identity(conn.source, source),
        destination_identity: identity(conn.destination, destination),
        service: names.service(conn.service).map(|s| s.name.to_string()),
        since: now.checked_sub(age).unwrap_or(now).into(),
        bytes_sent: 0,
        bytes_received: 0,
    }
}

fn config(settings: &Settings) -> ConfigView {
    let s = settings;
    ConfigView(BTreeMap::from([
        ("node".to_owned(), json!(s.node)),
        ("cgroup".to_owned(), json!(s.cgroup)),
        ("tunnel-cgroup".to_owned(), json!(s.tunnel_cgroup)),
        ("kubelet-cgroup".to_owned(), json!(s.kubelet_cgroup)),
        ("pin-dir".to_owned(), json!(s.pins())),
        ("bpf-object".to_owned(), json!(s.object())),
        ("xds".to_owned(), json!(s.xds)),
        ("root-cert".to_owned(), json!(s.roots())),
        ("token".to_owned(), json!(s.token)),
        ("cluster-id".to_owned(), json!(s.cluster_id)),
        ("run-dir".to_owned(), json!(s.run_dir)),
        ("metrics-addr".to_owned(), json!(s.metrics_addr)),
        (
            "direct-flows".to_owned(),
            json!(format!("{:?}", s.direct_flows).to_lowercase()),
        ),
        ("direct-flows-off".to_owned(), json!(s.direct_flows_off)),
        (
            "tunnel-wait".to_owned(),
            json!(format!("{:?}", s.tunnel_wait)),
        ),
        ("add-wait".to_owned(), json!(format!("{:?}", s.add_wait))),
        ("exempt-namespace".to_owned(), json!(s.exempt_namespaces)),
        ("cni-bin-dir".to_owned(), json!(s.cni_bin_dir)),
        ("cni-conf-dir".to_owned(), json!(s.cni_conf_dir)),
        ("cni-remove-on-exit".to_owned(), json!(s.cni_remove_on_exit)),
        ("pod-logs-dir".to_owned(), json!(s.pod_logs_dir)),
        (
            "access-log".to_owned(),
            json!(format!("{:?}", s.access_log).to_lowercase()),
        ),
    ]))
}

async fn switch(s: Sources, input: Input) -> Result<View, RouteError> {
    let gone = |_| RouteError::unavailable("the agent is stopping");
    s.inputs.send(input).await.map_err(gone)?;
    look(s).await
}

async fn keep_gauges(s: Sources, metrics: Metrics, readiness: Readiness) {
    let mut interval = tokio::time::interval(Duration::from_secs(2));
    loop {
        interval.tick().await;
        let Ok(view) = look(s.clone()).await else {
            return;
        };
        readiness.look(&view, Instant::now());
        metrics
            .xds_connected
            .set(s.client.status().connected_since.is_some().into());
        metrics.tunnel_connected.set(view.tunnel.is_some().into());
        metrics.enrolled.set(counts(&view).enrolled as i64);
        metrics.kernel_errors.set(view.kernel_errors as i64);
        metrics
            .live
            .set(observe::direct_conns(&s.pins).len() as i64);
        metrics
            .log_lost
            .set(s.writer.lost().load(Ordering::Relaxed) as i64);
    }
}
