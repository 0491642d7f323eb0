//! Prometheus metrics. Nothing here is touched by a connection while it moves bytes.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use warren_admin::access::{EndLabels, Traffic, TrafficLabels};

use super::info::{End, Flag, Party};
use super::line::{reporter, security};
use super::registry::{Live, Reported};

/// One label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// Its value.
    pub reason: &'static str,
}

/// All metrics of the tunnel.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections.
    pub traffic: Traffic,
    /// TLS handshakes that failed, by reason.
    pub handshake_failures: Family<Reason, Counter>,
    /// TLS handshakes that succeeded.
    pub handshakes: Counter,
    /// Connections that a kernel program should have recognised as direct flows.
    pub missed_direct: Counter,
    /// Accepted connections without an original destination.
    pub uncaptured: Counter,
    /// Requests on the HBONE port that were no CONNECT.
    pub malformed: Counter,
    /// Connections denied by policy, at the start or later.
    pub denials: Counter,
    /// Log lines lost.
    pub log_lost: Gauge,
    /// Ended connections that wait to be logged and counted.
    pub record_queue: Gauge,
    /// TLS handshakes with peers under way, as server.
    pub handshakes_in_flight: Gauge,
    /// Connections that live now.
    pub live: Gauge,
    /// Pooled HBONE connections to peers.
    pub pool_connections: Gauge,
    /// Streams on them.
    pub pool_streams: Gauge,
    /// 1 while connected to the controller.
    pub xds_connected: Gauge,
    /// Seconds until the first of our certificates expires.
    pub cert_seconds_left: Gauge<f64, AtomicU64>,
    /// Identities that have a valid certificate.
    pub certs_valid: Gauge,
    /// Pods served.
    pub pods: Gauge,
}

impl Metrics {
    /// Makes all metrics and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("warren");
        let this = Self {
            traffic: Traffic::default(),
            handshake_failures: Family::default(),
            handshakes: Counter::default(),
            missed_direct: Counter::default(),
            uncaptured: Counter::default(),
            malformed: Counter::default(),
            denials: Counter::default(),
            log_lost: Gauge::default(),
            record_queue: Gauge::default(),
            handshakes_in_flight: Gauge::default(),
            live: Gauge::default(),
            pool_connections: Gauge::default(),
            pool_streams: Gauge::default(),
            xds_connected: Gauge::default(),
            cert_seconds_left: Gauge::default(),
            certs_valid: Gauge::default(),
            pods: Gauge::default(),
        };
        this.register_traffic(registry);
        this.register_process(registry);
        this
    }

    fn register_traffic(&self, r: &mut Registry) {
        self.traffic.register(r);
        let failures = "TLS handshakes that failed, by reason";
        r.register(
            "tls_handshake_failures",
            failures,
            self.handshake_failures.clone(),
        );
        r.register(
            "tls_handshakes",
            "TLS handshakes that succeeded",
            self.handshakes.clone(),
        );
        let missed = "Same-node connections in plaintext that the kernel did not authorise; reset";
        r.register("missed_direct_flows", missed, self.missed_direct.clone());
        r.register(
            "uncaptured_connections",
            "Connections without an original destination; closed",
            self.uncaptured.clone(),
        );
        r.register(
            "malformed_requests",
            "Requests on the HBONE port answered with 400",
            self.malformed.clone(),
        );
        r.register(
            "denials",
            "Connections denied by policy; equals the last number in the denial log",
            self.denials.clone(),
        );
    }

    fn register_process(&self, r: &mut Registry) {
        let queue = "Ended connections that wait to be logged and counted";
        r.register("record_queue", queue, self.record_queue.clone());
        let under_way = "TLS handshakes with peers under way, as server";
        r.register(
            "tls_handshakes_in_flight",
            under_way,
            self.handshakes_in_flight.clone(),
        );
        r.register(
            "tcp_connections_live",
            "Connections that live now",
            self.live.clone(),
        );
        r.register(
            "access_log_lost_lines",
            "Log lines lost because the log was not read fast enough",
            self.log_lost.clone(),
        );
        r.register(
            "pool_connections",
            "HBONE connections to peers",
            self.pool_connections.clone(),
        );
        r.register(
            "pool_streams",
            "Streams on HBONE connections to peers",
            self.pool_streams.clone(),
        );
        r.register(
            "xds_connected",
            "1 while connected to the controller",
            self.xds_connected.clone(),
        );
        let left = "Until the first of the certificates in use expires";
        r.register_with_unit(
            "certificate_remaining",
            left,
            Unit::Seconds,
            self.cert_seconds_left.clone(),
        );
        r.register(
            "certificates_valid",
            "Identities with a valid certificate",
            self.certs_valid.clone(),
        );
        r.register("pods", "Pods served", self.pods.clone());
    }

    /// A handshake failed.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshake_failures
            .get_or_create(&Reason { reason })
            .inc();
    }

    /// Takes over what is new about a connection: that it was opened, and what moved since the last time.
    fn moved(&self, live: &Live, labels: impl FnOnce() -> TrafficLabels) -> Option<TrafficLabels> {
        let mut reported = live.reported.lock();
        let now = live.counters.read();
        if reported.opened && now == (reported.up, reported.down) {
            return None;
        }
        let labels = labels();
        let (up, down) = (now.0 - reported.up, now.1 - reported.down);
        if !reported.opened {
            self.traffic.opened.get_or_create(&labels).inc();
        }
        *reported = Reported {
            opened: true,
            up: now.0,
            down: now.1,
        };
        drop(reported);
        let (sent, received) = if labels.reporter == "source" {
            (up, down)
        } else {
            (down, up)
        };
        self.traffic.sent.get_or_create(&labels).inc_by(sent);
        self.traffic
            .received
            .get_or_create(&labels)
            .inc_by(received);
        Some(labels)
    }

    /// Takes over what is new about all live connections.
    pub fn observe(&self, registry: &super::Registry) {
        let all = registry.snapshot();
        self.live.set(i64::try_from(all.len()).unwrap_or(i64::MAX));
        for live in &all {
            self.moved(live, || labels(live));
        }
    }

    /// A connection ended.
    pub(super) fn ended(&self, live: &Live, end: &End) {
        let labels = self
            .moved(live, || labels(live))
            .unwrap_or_else(|| labels(live));
        self.traffic
            .duration
            .get_or_create(&labels)
            .observe(live.started.elapsed().as_secs_f64());
        let labels = labels.ended(live.verdict().label(), end.flag.label());
        self.traffic.closed.get_or_create(&labels).inc();
        if end.flag == Flag::MissedDirect {
            self.missed_direct.inc();
        }
    }
}

fn labels(live: &Live) -> TrafficLabels {
    let info = &live.info;
    TrafficLabels::live(
        reporter(info.reporter()),
        end_labels(&info.source),
        end_labels(&info.destination),
        info.service.as_ref().map(|s| &*s.hostname),
        security(info.security),
        info.verdict.label(),
    )
}

fn end_labels(party: &Party) -> EndLabels<'_> {
    EndLabels {
        workload: party.workload.as_deref(),
        identity: party.identity.as_ref(),
    }
}
