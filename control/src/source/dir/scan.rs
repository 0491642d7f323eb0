//! Finds and reads the files of the directory; only those that changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

mod content;

pub use content::{MAX_FILE, Unreadable, read};

/// What changed on disk, by path relative to the directory.
#[derive(Debug, Default)]
pub struct Outcome {
    /// New or changed files with their text, or why they could not be read.
    pub read: Vec<(Arc<str>, Result<String, Unreadable>)>,
    /// Files that are gone.
    pub gone: Vec<Arc<str>>,
    /// Files were left alone since they may still be being written; a scan in a second reads them.
    pub unsettled: bool,
}

/// Remembers what was read, to tell what changed.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    seen: BTreeMap<Arc<str>, Stamp>,
    /// Whether the first scan is done; later ones leave files alone that may still be being written.
    started: bool,
}

/// Device, inode, size and times of a file.
type Stamp = (u64, u64, u64, i64, i64);

impl Scanner {
    /// A scanner that has seen nothing.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            seen: BTreeMap::new(),
            started: false,
        }
    }

    /// Whether the directory could be listed at least once.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Looks at the whole directory and reads what is new or changed.
    pub fn scan(&mut self) -> Outcome {
        let mut present = BTreeSet::new();
        if let Err(e) = list(&self.root, 1, &mut present) {
            tracing::warn!(
                "cannot list {}: {e}; the objects known so far stay in force",
                self.root.display()
            );
            return Outcome::default();
        }
        let mut outcome = Outcome::default();
        for path in &present {
            self.visit(path, false, &mut outcome);
        }
        self.started = true;
        let names: BTreeSet<_> = present.iter().filter_map(|p| self.name(p)).collect();
        outcome
            .gone
            .extend(self.seen.keys().filter(|n| !names.contains(*n)).cloned());
        self.seen.retain(|n, _| names.contains(n));
        outcome
    }

    /// Reads `paths`. One that is a directory, or that vanished with files below it, means a scan.
    pub fn read(&mut self, paths: &BTreeSet<PathBuf>) -> Outcome {
        let mut outcome = Outcome::default();
        for path in paths.iter().filter(|p| is_manifest(p)) {
            self.visit(path, true, &mut outcome);
        }
        if paths.iter().any(|p| self.is_directory(p)) {
            let mut rest = self.scan();
            outcome.read.append(&mut rest.read);
            outcome.gone.append(&mut rest.gone);
            outcome.unsettled |= rest.unsettled;
        }
        outcome
    }

    /// Whether the path is a directory, or was one that held files of ours.
    fn is_directory(&self, path: &Path) -> bool {
        let Some(name) = self.name(path) else {
            return true;
        };
        let below: Arc<str> = format!("{name}/").into();
        let mut later = self.seen.range(below.clone()..);
        path.is_dir() || later.next().is_some_and(|(n, _)| n.starts_with(&*below))
    }

    fn visit(&mut self, path: &Path, always: bool, outcome: &mut Outcome) {
        let Some(name) = self.name(path) else { return };
        match fs::metadata(path) {
            Ok(meta) if !meta.is_dir() => {
                let stamp = (
                    meta.dev(),
                    meta.ino(),
                    meta.len(),
                    meta.mtime(),
                    meta.mtime_nsec(),
                );
                if self.started
                    && !always
                    && is_fresh(&meta)
                    && self.seen.get(&name) != Some(&stamp)
                {
                    outcome.unsettled = true;
                    return;
                }
                if self.seen.insert(name.clone(), stamp) != Some(stamp) || always {
                    outcome.read.push((name, read(path)));
                }
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                outcome.read.push((name, Err(e.into())));
            }
            // Nothing is there, or a directory, in which a scan looks.
            _ => {
                if self.seen.remove(&name).is_some() {
                    outcome.gone.push(name);
                }
            }
        }
    }

    fn name(&self, path: &Path) -> Option<Arc<str>> {
        Some(path.strip_prefix(&self.root).ok()?.to_string_lossy().into())
    }
}

/// Written within the last second: perhaps not to its end. The notification of its closing, or the next scan, reads it.
fn is_fresh(meta: &fs::Metadata) -> bool {
    let age = meta.modified().ok().and_then(|m| m.elapsed().ok());
    age.is_some_and(|a| a < Duration::from_secs(1))
}

fn list(dir: &Path, below: usize, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if below > 0 && !is_hidden(&path) {
                // A subdirectory may vanish between the two calls.
                let _ = list(&path, below - 1, found);
            }
        } else if is_manifest(&path) {
            found.insert(path);
        }
    }
    Ok(())
}

/// `.yaml`, `.yml` and `.json`; never hidden files, which editors and ConfigMap volumes use on the way.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    matches!(extension, Some("yaml" | "yml" | "json")) && !is_hidden(path)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|n| n.to_string_lossy().starts_with('.'))
}
