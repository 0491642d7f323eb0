//! The admin surface: what the controller knows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use warren_admin::types::{
    CertView, ClientView, ComponentStatus, ConfigView, PolicyView, ServiceView, Timestamp,
    Warning as WarningView, WorkloadView,
};
use warren_admin::{Admin, LogHandle};

use crate::ca::{Current, files};
use crate::metrics::Metrics;
use crate::pipeline::SharedIndex;
use crate::warning::{Warning, WarningStore};
use crate::xds::clients::{Client, Clients};

/// What the surface reads.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The model.
    pub index: SharedIndex,
    /// Warnings.
    pub warnings: WarningStore,
    /// Connected clients.
    pub clients: Clients,
    /// Whether the source was read once.
    pub synced: watch::Receiver<bool>,
    /// The CA.
    pub authority: Current,
    /// Settings in force.
    pub settings: BTreeMap<String, Value>,
    /// Counters.
    pub metrics: Metrics,
}

/// Addresses that are served, for `/config`.
pub fn bound(settings: &mut BTreeMap<String, Value>, name: &str, address: SocketAddr) {
    settings.insert(format!("bound-{name}"), json!(address));
}

/// The table of routes.
pub fn routes(sources: Sources, registry: Arc<Registry>, log: LogHandle) -> Admin {
    let started = Timestamp::now();
    let s = Arc::new(sources);
    let certs = s.clone();
    let (status, workloads, services, policies, warnings, config, ready) = (
        s.clone(),
        s.clone(),
        s.clone(),
        s.clone(),
        s.clone(),
        s.clone(),
        s,
    );
    Admin::new("warren-control")
        .route("/status", move || {
            let status = ComponentStatus {
                started,
                ..component(&status)
            };
            async move { status }
        })
        .route("/workloads", move || {
            let mut views: Vec<WorkloadView> = workloads
                .index
                .read()
                .workloads()
                .map(|w| (&**w).into())
                .collect();
            views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            async move { views }
        })
        .route("/services", move || {
            let views = service_views(&services.index);
            async move { views }
        })
        .route("/policies", move || {
            let mut views: Vec<PolicyView> = policies
                .index
                .read()
                .policies()
                .map(|p| (&**p).into())
                .collect();
            views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            async move { views }
        })
        .route("/warnings", move || {
            let views: Vec<WarningView> = warnings.warnings.all().into_iter().map(view).collect();
            async move { views }
        })
        .route("/certs", move || {
            let views: Vec<CertView> = files::views(&certs.authority.get());
            async move { views }
        })
        .route("/config", move || {
            let view = ConfigView(config.settings.clone());
            async move { view }
        })
        .ready(move || has_read(&ready.synced))
        .metrics(registry)
        .log_level(log)
}

/// What anybody may ask: nothing of the model, and nothing can be changed.
pub fn open_routes(synced: watch::Receiver<bool>, registry: Arc<Registry>) -> Admin {
    Admin::new("warren-control")
        .metrics(registry)
        .ready(move || has_read(&synced))
}

fn has_read(synced: &watch::Receiver<bool>) -> Result<(), String> {
    match *synced.borrow() {
        true => Ok(()),
        false => Err("the source was not read yet".into()),
    }
}

fn component(s: &Sources) -> ComponentStatus {
    let (workloads, services, policies) = s.index.read().sizes();
    let mut status = ComponentStatus::new("control");
    status.ready = *s.synced.borrow();
    if !status.ready {
        status.waiting_for = vec!["the first reading of the source".into()];
    }
    status.clients = s.clients.all().into_iter().map(client).collect();
    status.warnings = Some(s.warnings.len());
    let counts = [
        ("workloads", workloads),
        ("services", services),
        ("policies", policies),
    ];
    status.details = counts
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_string()))
        .collect();
    status
}

fn client(c: Client) -> ClientView {
    ClientView {
        id: c.id,
        node: c.node,
        address: c.address,
        connected_since: c.since.into(),
        last_nack: c.last_nack,
    }
}

fn service_views(index: &SharedIndex) -> Vec<ServiceView> {
    let index = index.read();
    let mut endpoints: BTreeMap<String, usize> = BTreeMap::new();
    for workload in index.workloads() {
        for key in workload.services.keys() {
            *endpoints.entry(key.to_string()).or_default() += 1;
        }
    }
    let mut views: Vec<ServiceView> = index
        .services()
        .map(|s| {
            let mut view = ServiceView::from(&**s);
            view.endpoints = Some(endpoints.get(&s.key().to_string()).copied().unwrap_or(0));
            view
        })
        .collect();
    views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    views
}

fn view(w: Warning) -> WarningView {
    let (kind, namespace, name) = match &w.object {
        Some(key) => (
            key.kind.to_string(),
            key.id.namespace.to_string(),
            key.id.name.to_string(),
        ),
        None => (String::new(), String::new(), String::new()),
    };
    WarningView {
        kind,
        namespace,
        name,
        file: w.origin.as_ref().map(|o| o.file.to_string()),
        line: w.origin.as_ref().map(|o| u64::from(o.line)),
        reason: format!("{}; {}", w.reason, w.next_step),
    }
}
