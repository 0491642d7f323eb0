//! The controller's metrics, prefix `warren_control_`.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::model::Kind;
use crate::xds::Type;

/// By type of resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    resource: &'static str,
}

/// By reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

/// By outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabel {
    verdict: &'static str,
}

/// All of them. Clones share.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// xDS responses.
    pub pushes: Family<TypeLabel, Counter>,
    /// Resources and removals in them.
    pub resources: Family<TypeLabel, Counter>,
    /// Their bytes.
    pub bytes: Family<TypeLabel, Counter>,
    /// Responses that clients refused.
    pub nacks: Counter,
    /// Streams refused.
    pub streams_refused: Counter,
    /// From the change to the response.
    pub push_latency: Histogram,
    /// From the first event to the published change.
    pub index_seconds: Histogram,
    /// Events taken in.
    pub events: Counter,
    /// Connected clients.
    pub clients: Gauge,
    /// Published objects.
    pub published: Family<TypeLabel, Gauge>,
    /// Warnings in force.
    pub warnings: Gauge,
    /// Lists of the API server, by kind; one at the start, more where a watch could not go on.
    pub lists: Family<TypeLabel, Counter>,
    /// Watches and lists that failed, by kind.
    pub watch_failures: Family<TypeLabel, Counter>,
    /// Statuses written, by kind.
    pub writes: Family<TypeLabel, Counter>,
    /// Statuses and events that could not be written, by kind.
    pub write_failures: Family<TypeLabel, Counter>,
    /// Reviews of the admission webhook.
    pub reviews: Family<VerdictLabel, Counter>,
    /// Certificates issued.
    pub issued: Counter,
    /// Certificates refused.
    pub refused: Family<ReasonLabel, Counter>,
}

impl Metrics {
    /// Makes them and registers them.
    pub fn new() -> (Self, Arc<Registry>) {
        let histogram = || Histogram::new(exponential_buckets(0.000_25, 2.0, 18));
        let metrics = Self {
            pushes: Family::default(),
            resources: Family::default(),
            bytes: Family::default(),
            nacks: Counter::default(),
            streams_refused: Counter::default(),
            push_latency: histogram(),
            index_seconds: histogram(),
            events: Counter::default(),
            clients: Gauge::default(),
            published: Family::default(),
            warnings: Gauge::default(),
            lists: Family::default(),
            watch_failures: Family::default(),
            writes: Family::default(),
            write_failures: Family::default(),
            reviews: Family::default(),
            issued: Counter::default(),
            refused: Family::default(),
        };
        let mut registry = Registry::default();
        warren_admin::process::register(&mut registry);
        let own = registry.sub_registry_with_prefix("warren_control");
        metrics.register(own);
        metrics.register_kubernetes(own);
        (metrics, Arc::new(registry))
    }

    fn register(&self, r: &mut Registry) {
        r.register("xds_pushes", "xDS responses sent", self.pushes.clone());
        r.register(
            "xds_resources",
            "Resources and removals in xDS responses",
            self.resources.clone(),
        );
        r.register_with_unit(
            "xds_sent",
            "Bytes of xDS responses",
            Unit::Bytes,
            self.bytes.clone(),
        );
        r.register(
            "xds_nacks",
            "xDS responses that clients refused",
            self.nacks.clone(),
        );
        r.register(
            "xds_streams_refused",
            "xDS streams refused",
            self.streams_refused.clone(),
        );
        r.register_with_unit(
            "xds_push_latency",
            "Time from a change to the response that carries it",
            Unit::Seconds,
            self.push_latency.clone(),
        );
        r.register_with_unit(
            "index_update",
            "Time to work a batch of events into the model",
            Unit::Seconds,
            self.index_seconds.clone(),
        );
        r.register("events", "Events from the source", self.events.clone());
        r.register(
            "xds_clients",
            "Connected tunnels, agents and waypoints",
            self.clients.clone(),
        );
        r.register(
            "published",
            "Published workloads, services and policies",
            self.published.clone(),
        );
        r.register(
            "object_warnings",
            "Objects that could not be honoured, wholly or in part",
            self.warnings.clone(),
        );
        r.register(
            "certificates_issued",
            "Certificates issued",
            self.issued.clone(),
        );
        r.register(
            "certificates_refused",
            "Certificate requests refused",
            self.refused.clone(),
        );
    }

    fn register_kubernetes(&self, r: &mut Registry) {
        r.register(
            "kubernetes_lists",
            "Lists asked of the API server",
            self.lists.clone(),
        );
        r.register(
            "kubernetes_watch_failures",
            "Lists and watches of the API server that failed",
            self.watch_failures.clone(),
        );
        r.register(
            "status_writes",
            "Statuses written to the API server",
            self.writes.clone(),
        );
        r.register(
            "status_write_failures",
            "Statuses and events that could not be written",
            self.write_failures.clone(),
        );
        r.register(
            "admission_reviews",
            "Objects that the API server asked about, and requests that could not be answered",
            self.reviews.clone(),
        );
    }

    /// Counts a response.
    pub fn pushed(&self, kind: Option<Type>, resources: usize, bytes: u64, latency: Duration) {
        let label = TypeLabel {
            resource: match kind {
                Some(Type::Address) => "address",
                Some(Type::Authorization) => "authorization",
                None => "unknown",
            },
        };
        self.pushes.get_or_create(&label).inc();
        self.resources
            .get_or_create(&label)
            .inc_by(resources as u64);
        self.bytes.get_or_create(&label).inc_by(bytes);
        self.push_latency.observe(latency.as_secs_f64());
    }

    /// Notes how much is published.
    pub fn sizes(&self, (workloads, services, policies): (usize, usize, usize)) {
        for (resource, n) in [
            ("workload", workloads),
            ("service", services),
            ("policy", policies),
        ] {
            let gauge = self.published.get_or_create(&TypeLabel { resource });
            gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }

    /// Counts a list.
    pub fn list(&self, kind: Kind) {
        let resource = kind.name();
        self.lists.get_or_create(&TypeLabel { resource }).inc();
    }

    /// Counts a failure of a list or watch.
    pub fn watch_failed(&self, kind: Kind) {
        let resource = kind.name();
        let failures = self.watch_failures.get_or_create(&TypeLabel { resource });
        failures.inc();
    }

    /// Counts a status.
    pub fn written(&self, kind: Kind) {
        let resource = kind.name();
        self.writes.get_or_create(&TypeLabel { resource }).inc();
    }

    /// Counts a status or event that could not be written.
    pub fn write_failed(&self, kind: Kind) {
        let resource = kind.name();
        let failures = self.write_failures.get_or_create(&TypeLabel { resource });
        failures.inc();
    }

    /// Counts a review: `allowed`, `refused` or `failed`.
    pub fn reviewed(&self, verdict: &'static str) {
        self.reviews.get_or_create(&VerdictLabel { verdict }).inc();
    }

    /// Counts a refusal.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }
}
