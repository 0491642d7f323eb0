//! What this process shows: admin, metrics and readiness.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use prometheus_client::registry::Registry;
use serde_json::json;
use warren_admin::types::{
    CertView, ComponentStatus, ConfigView, ConnectionView, PodCounts, PolicyView, ServiceView,
    Timestamp, WorkloadView, XdsStatus,
};
use warren_admin::{Admin, LogHandle};
use warren_api::xds;
use warren_core::Identity;

use crate::certs::CertState;
use crate::context::Context;
use crate::record::{Direction, Live, Security};
use crate::settings::Settings;

/// What the endpoints look at.
#[derive(Clone)]
pub struct Views {
    /// The data path's state.
    pub cx: Arc<Context>,
    /// The stream from the controller.
    pub xds: xds::Client,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// When this process started.
    pub started: Timestamp,
}

/// All endpoints.
pub fn admin(views: &Views, metrics: Arc<Registry>, log: LogHandle) -> Admin {
    let on = |f: fn(&Views) -> serde_json::Value| {
        let views = views.clone();
        move || {
            let value = f(&views);
            async move { value }
        }
    };
    let ready = views.clone();
    Admin::new("ztunnel")
        .route("/status", on(|v| json!(v.status())))
        .route(
            "/workloads",
            on(|v| {
                json!(
                    v.cx.state
                        .mesh()
                        .workloads()
                        .map(|w| WorkloadView::from(&**w))
                        .collect::<Vec<_>>()
                )
            }),
        )
        .route("/services", on(|v| json!(v.services())))
        .route(
            "/policies",
            on(|v| {
                json!(
                    v.cx.state
                        .mesh()
                        .policies()
                        .map(|p| PolicyView::from(&**p))
                        .collect::<Vec<_>>()
                )
            }),
        )
        .route(
            "/certs",
            on(|v| json!(v.cx.certs.all().into_iter().map(cert).collect::<Vec<_>>())),
        )
        .route(
            "/connections",
            on(|v| {
                json!(
                    v.cx.registry
                        .snapshot()
                        .iter()
                        .map(|l| connection(l))
                        .collect::<Vec<_>>()
                )
            }),
        )
        .route("/config", on(|v| json!(config(&v.settings))))
        .metrics(metrics)
        .ready(move || ready.waiting_for().into_iter().next().map_or(Ok(()), Err))
        .log_level(log)
}

/// `/metrics` alone, for the port that others may reach.
pub fn metrics_only(metrics: Arc<Registry>) -> Admin {
    Admin::new("ztunnel").metrics(metrics)
}

/// Readiness alone.
pub fn readiness_only(views: &Views) -> Admin {
    let views = views.clone();
    Admin::new("ztunnel").ready(move || views.waiting_for().into_iter().next().map_or(Ok(()), Err))
}

impl Views {
    fn waiting_for(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.cx.state.is_synced() {
            missing.push("the first complete model from the controller".to_owned());
        }
        if !self.cx.agent_synced.load(Ordering::Acquire) {
            missing.push("the agent's list of pods".to_owned());
        }
        if missing.is_empty() && !self.cx.certified.load(Ordering::Acquire) {
            missing.push("certificates of this node's pods".to_owned());
        }
        missing
    }

    fn status(&self) -> ComponentStatus {
        let waiting_for = self.waiting_for();
        let agent = if self.cx.agent_connected.load(Ordering::Acquire) {
            "connected"
        } else {
            "not connected"
        };
        let (conns, streams) = self.cx.pool.size();
        let details = BTreeMap::from([
            ("agent".to_owned(), agent.to_owned()),
            ("connections".to_owned(), self.cx.registry.len().to_string()),
            (
                "pool".to_owned(),
                format!("{streams} streams on {conns} connections"),
            ),
            (
                "denials".to_owned(),
                self.cx.metrics.denials.get().to_string(),
            ),
        ]);
        ComponentStatus {
            started: self.started,
            node: Some(self.settings.node.clone()),
            ready: waiting_for.is_empty(),
            waiting_for,
            xds: Some(XdsStatus::from(&self.xds.status())),
            pods: Some(PodCounts {
                enrolled: self.cx.pods.all().len(),
                ..PodCounts::default()
            }),
            details,
            ..ComponentStatus::new("ztunnel")
        }
    }

    fn services(&self) -> Vec<ServiceView> {
        let mesh = self.cx.state.mesh();
        let view = |s: &Arc<warren_core::Service>| ServiceView {
            endpoints: Some(mesh.endpoints(&s.key()).count()),
            ..ServiceView::from(&**s)
        };
        mesh.services().map(view).collect()
    }
}

fn cert((id, state): (Identity, CertState)) -> CertView {
    let word = match (&state.cert, &state.last_error) {
        (Some(c), _) if c.not_after > SystemTime::now() => "valid",
        (Some(_), _) => "expired",
        (None, Some(_)) => "failed",
        (None, None) => "pending",
    };
    let cert = state.cert.as_ref();
    CertView {
        identity: id.to_string(),
        state: word.to_owned(),
        serial: cert.map(|c| c.serial.clone()).unwrap_or_default(),
        not_before: cert.map(|c| c.not_before.into()),
        not_after: cert.map(|c| c.not_after.into()),
        renew_at: state.next_attempt.map(Into::into),
        error: state.last_error,
    }
}

fn connection(live: &Live) -> ConnectionView {
    let info = &live.info;
    let (up, down) = live.counters.read();
    let (direction, (sent, received)) = match info.direction {
        Direction::Outbound => ("outbound", (up, down)),
        Direction::Inbound | Direction::Plaintext => ("inbound", (down, up)),
    };
    let path = match (info.direction, info.security) {
        (_, Security::MutualTls) => "hbone",
        (_, Security::Kernel) => "direct",
        (Direction::Outbound, Security::None) => "passthrough",
        (_, Security::None) => "plaintext",
    };
    let destination: SocketAddr = info.original.unwrap_or(info.destination.address);
    ConnectionView {
        direction: direction.to_owned(),
        path: path.to_owned(),
        source: info.source.address,
        destination,
        upstream: info.original.map(|_| info.destination.address),
        source_identity: info.source.identity.as_ref().map(ToString::to_string),
        destination_identity: info.destination.identity.as_ref().map(ToString::to_string),
        service: info.service.as_ref().map(ToString::to_string),
        since: live.began.into(),
        bytes_sent: sent,
        bytes_received: received,
    }
}

/// The settings by their flags' names.
pub fn config(s: &Settings) -> ConfigView {
    let pairs = [
        ("node", json!(s.node)),
        ("xds", json!(s.xds)),
        ("ca", json!(s.ca.as_ref().unwrap_or(&s.xds))),
        ("root-cert", json!(s.root_cert)),
        ("token", json!(s.token)),
        ("cluster-id", json!(s.cluster_id)),
        ("cert-ttl", json!(format!("{:?}", s.cert_ttl))),
        ("run-dir", json!(s.run_dir)),
        ("admin-addr", json!(s.admin_addr)),
        ("metrics-addr", json!(s.metrics_addr)),
        ("readiness-addr", json!(s.readiness_addr)),
        (
            "access-log",
            json!(format!("{:?}", s.access_log).to_lowercase()),
        ),
        ("drain-timeout", json!(format!("{:?}", s.drain_timeout))),
        ("max-peer-connections", json!(s.max_peer_connections)),
        ("workers", json!(s.workers)),
    ];
    ConfigView(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}
