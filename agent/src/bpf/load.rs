//! Loading the object: its maps, reused where a pinned one fits, and its programs.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::{MapInfo, RingBuf};
use aya::programs::{CgroupSockAddr, CgroupSockopt, Program, SkLookup, SockOps};
use aya::{Ebpf, EbpfLoader};
use warren_abi::names;

use super::attach::{attach_cgroup, renew};
use super::events::EventReader;
use super::{BpfError, Maps, Pins, pins};

/// The loaded object: programs are not attached to the cgroup yet.
pub struct Loaded {
    /// The maps.
    pub maps: Maps,
    /// The kernel's events.
    pub events: EventReader,
    /// The object, for its programs and its log.
    pub ebpf: Ebpf,
    lookup: OwnedFd,
    pins: Pins,
}

/// Loads `object` with its maps pinned under `pins`.
///
/// # Errors
/// The file is missing or of another version, the kernel refuses a map or a program.
pub fn load(object: &Path, pins: Pins) -> Result<Loaded, BpfError> {
    let data = fs::read(object).map_err(|source| BpfError::Object {
        path: object.to_owned(),
        source,
    })?;
    let parse = |why: String| BpfError::Parse {
        path: object.to_owned(),
        why,
    };
    let parsed = aya_obj::Object::parse(&data).map_err(|e| parse(e.to_string()))?;
    let mut loader = EbpfLoader::new();
    let mut pinned = Vec::new();
    for (name, map) in parsed.maps.iter().filter(|(name, _)| is_ours(name)) {
        let path = pins.maps().join(name);
        drop_if_unlike(name, map, &path)?;
        pinned.push((name.as_str(), path));
    }
    for (name, path) in &pinned {
        loader.map_pin_path(name, path.as_path());
    }
    let mut ebpf = loader.load(&data).map_err(|e| BpfError::Maps(chain(&e)))?;
    for name in names::CGROUP_PROGRAMS {
        load_program(&mut ebpf, name)?;
    }
    let lookup = load_program(&mut ebpf, names::SK_LOOKUP_PROGRAM)?;
    let events = ebpf
        .take_map(names::EVENTS)
        .ok_or_else(|| missing("map", names::EVENTS))?;
    let events = RingBuf::try_from(events).map_err(|e| BpfError::Maps(e.to_string()))?;
    let copy = lookup
        .try_clone()
        .map_err(|e| BpfError::Maps(e.to_string()))?;
    let maps = Maps::open(&mut ebpf, copy, pins.clone())?;
    Ok(Loaded {
        maps,
        events: EventReader::new(events),
        ebpf,
        lookup,
        pins,
    })
}

/// Programs that wait to be attached.
pub struct Attach {
    ebpf: Ebpf,
    lookup: OwnedFd,
    pins: Pins,
}

impl Loaded {
    /// The maps and events, and the programs, which are to be attached once the maps are filled.
    pub fn split(self) -> (Maps, EventReader, Attach) {
        (
            self.maps,
            self.events,
            Attach {
                ebpf: self.ebpf,
                lookup: self.lookup,
                pins: self.pins,
            },
        )
    }
}

impl Attach {
    /// Attaches the programs to `cgroup`, or puts them in place of those that an earlier agent left there. Also renews the
    /// lookup program of every pod. Until then an earlier agent's programs run.
    pub fn attach(self, cgroup: &Path) -> Result<(), BpfError> {
        for name in names::CGROUP_PROGRAMS {
            let program = program_fd(&self.ebpf, name)?;
            attach_cgroup(name, program.as_fd(), cgroup, &self.pins.links().join(name))?;
        }
        renew_lookups(self.lookup.as_fd(), &self.pins);
        Ok(())
    }
}

/// Puts the new lookup program in place of the old one at every pod; drops links of pods that are gone.
fn renew_lookups(lookup: BorrowedFd<'_>, pins: &Pins) {
    let entries = fs::read_dir(pins.pods())
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    for entry in entries {
        match renew(lookup, &entry.path()) {
            Ok(true) => {}
            Ok(false) => drop(pins::remove(&entry.path())),
            Err(error) => {
                tracing::error!(%error, pin = %entry.path().display(), "a pod keeps its old lookup program")
            }
        }
    }
}

/// Compiler-made data sections and aya's log buffer are made anew by every agent.
fn is_ours(name: &str) -> bool {
    !name.starts_with('.') && !name.starts_with("AYA_")
}

fn drop_if_unlike(name: &str, wanted: &aya_obj::Map, path: &Path) -> Result<(), BpfError> {
    if !path.exists() {
        return Ok(());
    }
    let found = MapInfo::from_pin(path)
        .map_err(|e| BpfError::Maps(format!("pinned {}: {e}", path.display())))?;
    let kind = found.map_type().map(|t| t as u32).unwrap_or_default();
    let found = (
        kind,
        found.key_size(),
        found.value_size(),
        found.max_entries(),
    );
    let wanted = (
        wanted.map_type(),
        wanted.key_size(),
        wanted.value_size(),
        wanted.max_entries(),
    );
    if found == wanted {
        return Ok(());
    }
    tracing::warn!(
        map = name,
        ?found,
        ?wanted,
        "the pinned map has another layout (type, key, value, entries): it is made anew, and what was in it is lost"
    );
    pins::remove(path).map_err(|e| BpfError::Maps(e.to_string()))
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, BpfError> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| missing("program", name))?;
    let loaded = match program {
        Program::CgroupSockAddr(p) => CgroupSockAddr::load(p),
        Program::CgroupSockopt(p) => CgroupSockopt::load(p),
        Program::SockOps(p) => SockOps::load(p),
        Program::SkLookup(p) => SkLookup::load(p),
        _ => return Err(missing("program", name)),
    };
    loaded.map_err(|e| BpfError::Program {
        name: name.to_owned(),
        why: tail(&chain(&e)),
    })?;
    program_fd(ebpf, name)
}

fn program_fd(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, BpfError> {
    let program = ebpf.program(name).ok_or_else(|| missing("program", name))?;
    let fail = |why: String| BpfError::Program {
        name: name.to_owned(),
        why,
    };
    let fd = program.fd().map_err(|e| fail(e.to_string()))?;
    fd.as_fd()
        .try_clone_to_owned()
        .map_err(|e| fail(e.to_string()))
}

pub(super) fn missing(kind: &'static str, name: &str) -> BpfError {
    BpfError::Missing {
        kind,
        name: name.to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The end of a verifier log says why; its beginning can be megabytes long.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
