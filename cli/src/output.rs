//! Writing answers: tables for people, JSON and YAML for programs.

use std::io::Write;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use warren_admin::types::{Timestamp, Warning};

use crate::{Error, Format};

mod table;

pub use table::Table;

/// An item and the process that it comes from.
#[derive(Debug, Serialize)]
pub struct Located<T> {
    /// `component` or `component@node`.
    pub from: String,
    /// The item's own fields.
    #[serde(flatten)]
    pub item: T,
}

/// Writes `value` as `format` says; `table` draws it for people.
///
/// # Errors
/// Standard output cannot be written, except where its reader has gone.
pub fn write<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Error> {
    let text = match format {
        Format::Table => table(value),
        Format::Json => {
            serde_json::to_string_pretty(value).map_err(|e| Error::Output(e.to_string()))? + "\n"
        }
        Format::Yaml => serde_saphyr::to_string(value).map_err(|e| Error::Output(e.to_string()))?,
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Output(e.to_string())),
        _ => Ok(()),
    }
}

/// `-` for nothing.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

/// Kind and name of an object that a warning is about; empty where the file is not even YAML.
pub fn object(warning: &Warning) -> String {
    let Warning {
        kind,
        namespace,
        name,
        ..
    } = warning;
    let name = match namespace.is_empty() {
        true => name.clone(),
        false => format!("{namespace}/{name}"),
    };
    format!("{kind} {name}").trim().to_owned()
}

/// How long ago, such as `3m12s`.
pub fn age(t: Timestamp) -> String {
    duration(SystemTime::now().duration_since(t.0).unwrap_or_default())
}

/// How long until then, such as `23h10m`; `past` where it is over.
pub fn until(t: Timestamp) -> String {
    t.0.duration_since(SystemTime::now())
        .map_or_else(|_| "past".to_owned(), duration)
}

/// The two largest units.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m{}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{}m", s / 3_600, s / 60 % 60),
        _ => format!("{}d{}h", s / 86_400, s / 3_600 % 24),
    }
}

/// Bytes with a binary unit, such as `1.5Mi`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["", "Ki", "Mi", "Gi", "Ti"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        n.to_string()
    } else {
        format!("{value:.1}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        let s = |n| duration(Duration::from_secs(n));
        assert_eq!(
            [s(5), s(192), s(4_000), s(90_000)],
            ["5s", "3m12s", "1h6m", "1d1h"]
        );
        assert_eq!(
            [bytes(1_023), bytes(1_536), bytes(5 << 30)],
            ["1023", "1.5Ki", "5.0Gi"]
        );
        assert_eq!(until(Timestamp(SystemTime::UNIX_EPOCH)), "past");
    }
}
