//! Prometheus metrics: direct flows with the tunnel's names and labels, and the kernel's maps and counters.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use warren_admin::access::{EndLabels, Traffic, TrafficLabels};
use warren_admin::types::MapView;

use super::{Flow, Party};
use crate::bpf::{Pins, observe};

/// Both ends report, as both ends' tunnels would.
const REPORTERS: [&str; 2] = ["source", "destination"];

/// Most label sets whose metrics are kept at hand.
const MAX_HANDLES: usize = 16_384;

/// The metrics of one label set. Looking them up by their labels would cost more than all else.
#[derive(Debug)]
struct Handles {
    opened: Counter,
    closed: Counter,
    sent: Counter,
    received: Counter,
    duration: Histogram,
}

/// Source, destination, service, flags.
type HandleKey = (u32, u32, u32, &'static str);

/// The agent's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Direct flows.
    pub traffic: Traffic,
    /// By the version of names that they were made with.
    handles: (u64, HashMap<HandleKey, Arc<[Handles; 2]>>),
    denials: Counter,
    numbers: Arc<AtomicU64>,
    /// Direct flows that live now.
    pub live: Gauge,
    /// 1 while connected to the controller.
    pub xds_connected: Gauge,
    /// 1 while a tunnel is connected.
    pub tunnel_connected: Gauge,
    /// Pods in the mesh.
    pub enrolled: Gauge,
    /// Changes that the kernel refused.
    pub kernel_errors: Gauge,
    /// Log lines lost.
    pub log_lost: Gauge,
    /// Inputs that wait for the node.
    pub queue: Gauge,
}

impl Metrics {
    /// Makes all metrics and registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let r = registry.sub_registry_with_prefix("warren");
        let this = Self {
            traffic: Traffic::default(),
            handles: Default::default(),
            denials: Counter::default(),
            numbers: Arc::default(),
            live: Gauge::default(),
            xds_connected: Gauge::default(),
            tunnel_connected: Gauge::default(),
            enrolled: Gauge::default(),
            kernel_errors: Gauge::default(),
            log_lost: Gauge::default(),
            queue: Gauge::default(),
        };
        this.register_traffic(r);
        this.register_process(r);
        this
    }

    fn register_traffic(&self, r: &mut Registry) {
        self.traffic.register(r);
        r.register(
            "denials",
            "Direct flows ended by policy; equals the last number in the denial log",
            self.denials.clone(),
        );
        r.register(
            "direct_flows_live",
            "Direct flows that live now",
            self.live.clone(),
        );
    }

    fn register_process(&self, r: &mut Registry) {
        r.register(
            "xds_connected",
            "1 while connected to the controller",
            self.xds_connected.clone(),
        );
        r.register(
            "tunnel_connected",
            "1 while a tunnel is connected",
            self.tunnel_connected.clone(),
        );
        r.register("pods_enrolled", "Pods in the mesh", self.enrolled.clone());
        r.register(
            "bpf_refused_changes",
            "Changes of maps and links that the kernel refused",
            self.kernel_errors.clone(),
        );
        r.register(
            "access_log_lost_lines",
            "Log lines lost because the log was not read fast enough",
            self.log_lost.clone(),
        );
        r.register(
            "agent_queue_length",
            "Inputs that wait to be handled",
            self.queue.clone(),
        );
    }

    /// A direct flow ended; `version` is that of the names. A flow is counted as opened here too: two events for each flow would
    /// cost more than they tell, and live flows have a gauge.
    pub fn ended(&mut self, flow: &Flow, version: u64) {
        if self.handles.0 != version || self.handles.1.len() >= MAX_HANDLES {
            self.handles = (version, HashMap::new());
        }
        let service = flow.service.as_ref().map_or(0, |s| s.number);
        let key = (
            flow.source.number,
            flow.destination.number,
            service,
            flow.flags(),
        );
        let handles = match self.handles.1.get(&key) {
            Some(handles) => handles.clone(),
            None => {
                let made = Arc::new(REPORTERS.map(|reporter| self.make(reporter, flow)));
                self.handles.1.insert(key, made.clone());
                made
            }
        };
        for h in handles.iter() {
            h.opened.inc();
            h.sent.inc_by(flow.sent);
            h.received.inc_by(flow.received);
            h.duration.observe(flow.nanoseconds as f64 / 1e9);
            h.closed.inc();
        }
    }

    fn make(&self, reporter: &'static str, flow: &Flow) -> Handles {
        let open = labels(reporter, flow);
        let closed = open.clone().ended(flow.verdict(), flow.flags());
        let t = &self.traffic;
        Handles {
            opened: t.opened.get_or_create_owned(&open),
            closed: t.closed.get_or_create_owned(&closed),
            sent: t.sent.get_or_create_owned(&open),
            received: t.received.get_or_create_owned(&open),
            duration: t.duration.get_or_create_owned(&open),
        }
    }

    /// Policy ended a flow; returns the denial's number.
    pub fn denied(&self) -> u64 {
        self.denials.inc();
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn labels(reporter: &'static str, flow: &Flow) -> TrafficLabels {
    let identity = |p: &Party| p.workload.as_ref().map(|w| w.identity());
    let (source, destination) = (identity(&flow.source), identity(&flow.destination));
    TrafficLabels::live(
        reporter,
        EndLabels {
            workload: flow.source.workload.as_deref(),
            identity: source.as_ref(),
        },
        EndLabels {
            workload: flow.destination.workload.as_deref(),
            identity: destination.as_ref(),
        },
        flow.service.as_ref().map(|s| &*s.hostname),
        "kernel",
        "allow",
    )
}

/// Maps, and the kernel programs' counters by [`observe::COUNTER_NAMES`].
type Observed = (Vec<MapView>, Vec<u64>);

/// Reads maps and counters when it is scraped.
pub struct MapCollector {
    look: Box<dyn Fn() -> Observed + Send + Sync>,
}

impl MapCollector {
    /// Asks `look` each time.
    pub fn new(look: impl Fn() -> Observed + Send + Sync + 'static) -> Self {
        let look = Box::new(look);
        Self { look }
    }

    /// Looks at what is pinned.
    pub fn of(pins: Pins) -> Self {
        Self::new(move || (observe::usage(&pins), observe::counters(&pins)))
    }
}

impl fmt::Debug for MapCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapCollector").finish_non_exhaustive()
    }
}

impl Collector for MapCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (usage, counters) = (self.look)();
        let counted = usage
            .iter()
            .filter_map(|m| Some((m.name.as_str(), m.entries?)));
        family(
            &mut encoder,
            "warren_bpf_map_entries",
            "Entries of a map",
            counted,
        )?;
        let limits = usage.iter().map(|m| (m.name.as_str(), m.max_entries));
        family(
            &mut encoder,
            "warren_bpf_map_max_entries",
            "Room for entries of a map",
            limits,
        )?;
        let help = "What the kernel programs counted";
        let sample = ConstCounter::new(0u64);
        let mut events =
            encoder.encode_descriptor("warren_bpf_events", help, None, sample.metric_type())?;
        for ((_, name), value) in observe::COUNTER_NAMES.iter().zip(counters) {
            ConstCounter::new(value).encode(events.encode_family(&[("event", *name)])?)?;
        }
        Ok(())
    }
}

fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let sample = ConstGauge::new(0i64);
    let mut metric = encoder.encode_descriptor(name, help, None, sample.metric_type())?;
    for (map, value) in values {
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
            .encode(metric.encode_family(&[("map", map)])?)?;
    }
    Ok(())
}
