//! Metrics of the process itself, read from `/proc/self` when they are scraped.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// The kernel reports CPU time to user space in hundredths of a second, whatever its own clock (proc(5), USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`, `process_max_fds` and `process_threads`. Give
/// it a registry without a prefix, so that the names are those that dashboards know.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(ProcessCollector));
}

#[derive(Debug)]
struct ProcessCollector;

/// What `/proc/self` says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: i64,
    threads: i64,
    open_fds: i64,
    max_fds: i64,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let usage = read();
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let name = "process_cpu";
        cpu.encode(encoder.encode_descriptor(
            name,
            "User and system CPU time",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let memory = ConstGauge::new(usage.resident_bytes);
        let name = "process_resident_memory";
        let kind = memory.metric_type();
        memory.encode(encoder.encode_descriptor(
            name,
            "Resident memory",
            Some(&Unit::Bytes),
            kind,
        )?)?;
        for (name, help, value) in [
            ("process_open_fds", "Open file descriptors", usage.open_fds),
            (
                "process_max_fds",
                "Most file descriptors that may be open",
                usage.max_fds,
            ),
            ("process_threads", "Threads", usage.threads),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn read() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Usage {
        cpu_seconds: cpu_ticks(&stat) / TICKS_PER_SECOND,
        resident_bytes: status_number(&status, "VmRSS:") * 1024,
        threads: status_number(&status, "Threads:"),
        open_fds: i64::try_from(open_fds).unwrap_or(i64::MAX),
        // No limit is no number, and 0 here (proc(5), the soft limit comes first).
        max_fds: status_number(&limits, "Max open files"),
    }
}

/// User and system time, fields 14 and 15. The command's name, field 2, may hold anything but ends at the last `)`.
fn cpu_ticks(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|t| t.parse::<f64>().ok())
        .sum()
}

fn status_number(status: &str, key: &str) -> i64 {
    let line = status.lines().find_map(|l| l.strip_prefix(key));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_odd_command_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 5 6 7";
        assert!((cpu_ticks(stat) - 200.0).abs() < f64::EPSILON);
    }

    #[test]
    fn scrape_has_plausible_values() {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
        ] {
            let line = text
                .lines()
                .find(|l| l.starts_with(name))
                .unwrap_or_else(|| panic!("{name} in {text}"));
            let value: f64 = line
                .rsplit(' ')
                .next()
                .and_then(|v| v.parse().ok())
                .expect("a number");
            assert!(value >= 0.0, "{line}");
        }
        assert!(read().resident_bytes > 100_000 && read().open_fds >= 3 && read().threads >= 1);
    }
}
