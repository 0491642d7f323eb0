//! Metrics of traffic. Direct flows and tunnelled connections have the same names and labels, so that queries need not know which.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use warren_core::{Identity, Workload};

const UNKNOWN: &str = "unknown";

/// The labels of traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TrafficLabels {
    /// Which end reports: `source` or `destination`.
    pub reporter: &'static str,
    source_workload: String,
    source_namespace: String,
    source_principal: String,
    destination_workload: String,
    destination_namespace: String,
    destination_principal: String,
    destination_service: String,
    security_policy: &'static str,
    verdict: &'static str,
    response_flags: &'static str,
}

/// One end, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct EndLabels<'a> {
    /// Its workload.
    pub workload: Option<&'a Workload>,
    /// Its identity.
    pub identity: Option<&'a Identity>,
}

impl TrafficLabels {
    /// The labels of a connection that lives: by who reports, its two ends, the host name of the service asked for, how it is
    /// protected, and what policy said.
    pub fn live(
        reporter: &'static str,
        source: EndLabels<'_>,
        destination: EndLabels<'_>,
        service: Option<&str>,
        security_policy: &'static str,
        verdict: &'static str,
    ) -> Self {
        Self {
            reporter,
            source_workload: source.name(),
            source_namespace: source.namespace(),
            source_principal: source.principal(),
            destination_workload: destination.name(),
            destination_namespace: destination.namespace(),
            destination_principal: destination.principal(),
            destination_service: service.unwrap_or(UNKNOWN).to_owned(),
            security_policy,
            verdict,
            response_flags: "-",
        }
    }

    /// The same once it has ended: what policy said last, and how it ended.
    pub fn ended(self, verdict: &'static str, response_flags: &'static str) -> Self {
        Self {
            verdict,
            response_flags,
            ..self
        }
    }
}

impl EndLabels<'_> {
    fn name(&self) -> String {
        self.workload
            .map_or(UNKNOWN, |w| &w.workload_name)
            .to_owned()
    }

    fn namespace(&self) -> String {
        self.workload.map_or(UNKNOWN, |w| &w.namespace).to_owned()
    }

    fn principal(&self) -> String {
        self.identity
            .map_or_else(|| UNKNOWN.to_owned(), ToString::to_string)
    }
}

/// The families. Clones share.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Connections that were taken.
    pub opened: Family<TrafficLabels, Counter>,
    /// Connections that ended.
    pub closed: Family<TrafficLabels, Counter>,
    /// Bytes from client to server.
    pub sent: Family<TrafficLabels, Counter>,
    /// Bytes from server to client.
    pub received: Family<TrafficLabels, Counter>,
    /// Seconds that connections lived.
    pub duration: Family<TrafficLabels, Histogram, fn() -> Histogram>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            opened: Family::default(),
            closed: Family::default(),
            sent: Family::default(),
            received: Family::default(),
            duration: Family::new_with_constructor(seconds),
        }
    }
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0, 3600.0])
}

impl Traffic {
    /// Registers all of them.
    pub fn register(&self, r: &mut Registry) {
        let (opened, closed) = (self.opened.clone(), self.closed.clone());
        r.register(
            "tcp_connections_opened",
            "Connections that were taken",
            opened,
        );
        r.register(
            "tcp_connections_closed",
            "Connections that ended, by how",
            closed,
        );
        let mut with_unit = |name: &str, help: &str, unit, family: &Family<_, Counter>| {
            r.register_with_unit(name, help, unit, family.clone());
        };
        with_unit("tcp_sent", "From client to server", Unit::Bytes, &self.sent);
        with_unit(
            "tcp_received",
            "From server to client",
            Unit::Bytes,
            &self.received,
        );
        r.register_with_unit(
            "tcp_connection_duration",
            "Life of connections that ended",
            Unit::Seconds,
            self.duration.clone(),
        );
    }
}
