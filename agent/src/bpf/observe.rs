//! Looking at the pinned maps from outside: how full they are, what they count, which direct flows live.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::{Map, MapData, MapInfo, PerCpuArray};
use warren_abi::{COUNTERS_LEN, Counter, DirectConn, names};
use warren_admin::types::MapView;

pub use super::sys::monotonic;
use super::table::Table;
use super::{Pins, sys};

/// How full each pinned map is, in order of name.
pub fn usage(pins: &Pins) -> Vec<MapView> {
    let entries = std::fs::read_dir(pins.maps())
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut all: Vec<_> = entries.filter_map(|e| one(&e.path())).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The kernel programs' counters, summed over CPUs, indexed by [`Counter`]; empty where they cannot be read.
pub fn counters(pins: &Pins) -> Vec<u64> {
    let open = || -> Option<PerCpuArray<MapData, u64>> {
        let data = MapData::from_pin(pins.maps().join(names::COUNTERS)).ok()?;
        PerCpuArray::try_from(Map::PerCpuArray(data)).ok()
    };
    let Some(map) = open() else { return Vec::new() };
    (0..COUNTERS_LEN)
        .map(|i| map.get(&i, 0).map_or(0, |per_cpu| per_cpu.iter().sum()))
        .collect()
}

/// The counters and their names, in the order of [`Counter`].
pub const COUNTER_NAMES: [(Counter, &str); 11] = [
    (Counter::Captured, "captured"),
    (Counter::Direct, "direct"),
    (Counter::Passed, "passed"),
    (Counter::Refused, "refused"),
    (Counter::Probe, "probe"),
    (Counter::Plaintext, "plaintext"),
    (Counter::Hbone, "hbone"),
    (Counter::NoListener, "no_listener"),
    (Counter::EventsLost, "events_lost"),
    (Counter::MapFull, "map_full"),
    (Counter::DirectAccepted, "direct_accepted"),
];

/// What a counter counts, for people.
pub fn meaning(counter: Counter) -> &'static str {
    match counter {
        Counter::Captured => "Connections of enrolled pods that were sent to the tunnel",
        Counter::Direct => "Connections that were made direct",
        Counter::Passed => {
            "Connections of enrolled pods that passed untouched, such as those to the pod itself"
        }
        Counter::Refused => "Connections refused because a Service has no endpoint",
        Counter::Probe => "Probes of the kubelet that were let through",
        Counter::Plaintext => "Incoming connections given to the tunnel's plaintext listener",
        Counter::Hbone => "Incoming connections given to the tunnel's HBONE listener",
        Counter::NoListener => {
            "Incoming connections dropped because the tunnel's listener was missing"
        }
        Counter::EventsLost => {
            "Ends of direct flows that were not reported because the ring buffer was full"
        }
        Counter::MapFull => "Entries of a map that could not be written",
        Counter::DirectAccepted => "Incoming connections of direct flows",
    }
}

/// The live direct flows.
pub fn direct_conns(pins: &Pins) -> Vec<DirectConn> {
    let table = Table::<u64, DirectConn>::from_pin(
        &pins.maps().join(names::DIRECT_CONNS),
        names::DIRECT_CONNS,
    );
    table
        .map(|t| t.entries().into_iter().map(|(_, conn)| conn).collect())
        .unwrap_or_default()
}

fn one(path: &Path) -> Option<MapView> {
    let info = MapInfo::from_pin(path).ok()?;
    let kind = info
        .map_type()
        .map(|k| snake(&format!("{k:?}")))
        .unwrap_or_else(|_| "unknown".into());
    let countable = ["hash", "lru_hash", "sock_hash"].contains(&kind.as_str());
    Some(MapView {
        name: path.file_name()?.to_string_lossy().into_owned(),
        entries: countable.then(|| count(path, &info).ok()).flatten(),
        kind,
        max_entries: info.max_entries().into(),
        key_size: info.key_size(),
        value_size: info.value_size(),
        pin: path.display().to_string(),
    })
}

/// Counts by walking the keys; entries that come and go meanwhile may be missed. Never walks further than the map is long.
fn count(path: &Path, info: &MapInfo) -> io::Result<u64> {
    let map = sys::get(path)?;
    let mut key = None;
    for n in 0..info.max_entries() {
        key = sys::next_key(map.as_fd(), key.as_deref(), info.key_size() as usize)?;
        if key.is_none() {
            return Ok(n.into());
        }
    }
    Ok(info.max_entries().into())
}

/// `LruHash` as `lru_hash`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_bpftool_names_them() {
        assert_eq!(snake("LruHash"), "lru_hash");
        assert_eq!(snake("Hash"), "hash");
    }

    #[test]
    fn counters_are_named_in_their_order() {
        for (i, (counter, _)) in COUNTER_NAMES.iter().enumerate() {
            assert_eq!(*counter as usize, i);
        }
    }
}
