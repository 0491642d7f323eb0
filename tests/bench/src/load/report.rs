//! What a client prints: one JSON object.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The outcome of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Bytes that arrived at the sink.
    pub bytes: u64,
    /// Requests answered, or connections used and closed.
    pub count: u64,
    /// Requests answered in all, those that warmed up included.
    pub served: u64,
    /// Connections that failed or ended early.
    pub errors: u64,
    /// Time from when a request was due to its last byte; None where the mode measures none.
    pub latency: Option<Latency>,
}

impl Report {
    /// Gigabits a second.
    pub fn gbits(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e9 / self.seconds
    }

    /// Requests or connections a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Percentiles, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Least.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Most.
    pub max: f64,
}

/// Every latency of a run, in nanoseconds; exact percentiles need no buckets at these sizes.
#[derive(Debug, Default)]
pub struct Samples(Vec<u64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, latency: Duration) {
        self.0
            .push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The percentiles; None without samples.
    pub fn latency(mut self) -> Option<Latency> {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1)?;
        let at = |q: f64| self.0[(last as f64 * q).round() as usize] as f64 / 1e3;
        Some(Latency {
            min: at(0.0),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let mut samples = Samples::default();
        (0..=1000)
            .rev()
            .for_each(|us| samples.push(Duration::from_micros(us)));
        let latency = samples.latency().unwrap();
        assert_eq!(
            (
                latency.min,
                latency.p50,
                latency.p99,
                latency.p999,
                latency.max
            ),
            (0.0, 500.0, 990.0, 999.0, 1000.0)
        );
        assert_eq!(Samples::default().latency(), None);
    }
}
