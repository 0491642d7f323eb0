//! What the figures were measured on.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine, without anything that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model, as the kernel names it.
    pub cpu: String,
    /// Processors online.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Kernel release, such as `6.18.4`.
    pub kernel: String,
    /// The date of the run, UTC, `YYYY-MM-DD`.
    pub date: String,
}

impl Machine {
    /// This one; parts that cannot be read are `unknown`.
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        Self {
            cpu: value(&read("/proc/cpuinfo"), "model name")
                .unwrap_or("unknown")
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: value(&read("/proc/meminfo"), "MemTotal")
                .and_then(kilobytes)
                .unwrap_or(0),
            // What follows the version names who built it.
            kernel: release
                .trim()
                .split('-')
                .next()
                .unwrap_or("unknown")
                .to_owned(),
            date: date(std::time::SystemTime::now()),
        }
    }
}

/// Processes that wanted a processor, on average over the last minute; None where it cannot be read.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text
        .lines()
        .find_map(|l| l.split_once(':').filter(|(k, _)| k.trim() == key));
    line.map(|(_, v)| v.trim())
}

fn kilobytes(text: &str) -> Option<u64> {
    text.trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|k| k * 1024)
}

/// Civil date of a time (days since 1970-01-01 in the proleptic Gregorian calendar).
fn date(time: std::time::SystemTime) -> String {
    let seconds = time
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let (mut days, mut year) = (seconds / 86_400, 1970);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_know_leap_years() {
        let at = |days: u64| date(UNIX_EPOCH + Duration::from_secs(days * 86_400));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(11_016), "2000-02-29");
        assert_eq!(at(20_778), "2026-11-21");
    }

    #[test]
    fn the_kernel_has_no_builders_name() {
        assert!(!Machine::here().kernel.contains('-'));
        assert!(Machine::here().cores > 0);
    }
}
