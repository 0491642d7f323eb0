//! Medians with confidence intervals that assume nothing about how the noise is distributed.

use serde::{Deserialize, Serialize};

/// A median with a confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The sample's median.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability that the interval covers the true median; below 0.95 where there were fewer than 6 samples.
    pub confidence: f64,
    /// Samples.
    pub samples: usize,
}

/// The median of `values` and the narrowest interval of order statistics that covers the true median with at least 95 %
/// (the sign test's interval: exact for independent samples of any distribution). None without values.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 {
        return None;
    }
    let (skip, confidence) = (0..n.div_ceil(2))
        .map(|skip| (skip, coverage(n, skip)))
        .take_while(|(skip, confidence)| *skip == 0 || *confidence >= 0.95)
        .last()
        .unwrap_or((0, coverage(n, 0)));
    Some(Estimate {
        median: median(&sorted),
        low: sorted[skip],
        high: sorted[n - 1 - skip],
        confidence,
        samples: n,
    })
}

fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n % 2 == 1 {
        sorted[n / 2]
    } else {
        f64::midpoint(sorted[n / 2 - 1], sorted[n / 2])
    }
}

/// Probability that the true median lies between the samples left after `skip` were cut off at each end.
fn coverage(n: usize, skip: usize) -> f64 {
    let mut chance = 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut tail = 0.0;
    for i in 0..=skip {
        tail += chance;
        chance *= (n - i) as f64 / (i + 1) as f64;
    }
    (1.0 - 2.0 * tail).max(0.0)
}

/// `a[i] / b[i]`.
pub fn ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}

/// `a[i] - b[i]`.
pub fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_binomial_table() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let e = estimate(&values).unwrap();
        assert_eq!((e.median, e.low, e.high), (5.5, 2.0, 9.0));
        assert!(
            (e.confidence - 0.978_515_625).abs() < 1e-9,
            "{}",
            e.confidence
        );
    }

    #[test]
    fn few_samples_say_how_little_they_prove() {
        let e = estimate(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(
            (e.median, e.low, e.high, e.confidence),
            (2.0, 1.0, 3.0, 0.75)
        );
        assert_eq!(estimate(&[4.0]).unwrap().confidence, 0.0);
        assert_eq!(estimate(&[]), None);
        assert_eq!(estimate(&[f64::NAN]), None);
    }

    #[test]
    fn outliers_do_not_move_the_median() {
        let e = estimate(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 900.0]).unwrap();
        assert_eq!((e.median, e.low), (1.0, 1.0));
    }
}
