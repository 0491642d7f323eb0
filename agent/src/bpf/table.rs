//! Typed access to hash maps whose layout the `abi` crate fixes.
#![allow(unsafe_code)]

use std::path::Path;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, MapType};

use super::BpfError;
use super::load::missing;
use crate::kernel::{Done, KernelError};

/// A key or value of the `abi` crate. Foreign to aya, hence the wrapper.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Plain<T>(pub T);

// SAFETY: used only with the `repr(C)` types of the `abi` crate, which have no padding (asserted there) and no invalid bit patterns.
unsafe impl<T: Copy + 'static> aya::Pod for Plain<T> {}

/// One hash map.
pub struct Table<K: Copy + 'static, V: Copy + 'static> {
    name: &'static str,
    map: HashMap<MapData, Plain<K>, Plain<V>>,
}

impl<K: Copy + 'static, V: Copy + 'static> Table<K, V> {
    /// Takes the map `name` out of the object.
    pub fn open(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, BpfError> {
        let map = ebpf.take_map(name).ok_or_else(|| missing("map", name))?;
        let map = HashMap::try_from(map).map_err(|e| BpfError::Maps(format!("{name}: {e}")))?;
        Ok(Self { name, map })
    }

    /// Opens the map that is pinned at `path`; None where there is none of this layout.
    pub fn from_pin(path: &Path, name: &'static str) -> Option<Self> {
        let data = MapData::from_pin(path).ok()?;
        let lru = matches!(data.info().ok()?.map_type(), Ok(MapType::LruHash));
        let map = if lru {
            Map::LruHashMap(data)
        } else {
            Map::HashMap(data)
        };
        Some(Self {
            name,
            map: HashMap::try_from(map).ok()?,
        })
    }

    /// Inserts or replaces.
    pub fn put(&mut self, key: &K, value: &V) -> Done {
        let put = self.map.insert(Plain(*key), Plain(*value), 0);
        put.map_err(|e| error(self.name, "insert", &e))
    }

    /// Removes; succeeds where there is nothing.
    pub fn remove(&mut self, key: &K) -> Done {
        match self.map.remove(&Plain(*key)) {
            Err(e) if !is_missing(&e) => Err(error(self.name, "remove", &e)),
            _ => Ok(()),
        }
    }

    /// All entries; those removed meanwhile may be left out.
    pub fn entries(&self) -> Vec<(K, V)> {
        let keys = self.map.keys().filter_map(Result::ok);
        keys.filter_map(|k| self.map.get(&k, 0).ok().map(|v| (k.0, v.0)))
            .collect()
    }
}

/// An error of aya as ours, with the errno that it hides.
pub fn error(object: &'static str, action: &'static str, e: &MapError) -> KernelError {
    let cause = match e {
        MapError::SyscallError(s) => format!("{}: {}", s.call, s.io_error),
        other => other.to_string(),
    };
    KernelError {
        object,
        action,
        cause,
    }
}

pub fn is_missing(e: &MapError) -> bool {
    match e {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(s) => s.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}
