//! Where maps and links are pinned.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::{BpfError, sys};

/// The folder of all nodes' pins.
const ALL_NODES: &str = "warren";

/// The directories below `--pin-dir`.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Makes the directories; `root` has to lie on a bpffs.
    pub fn create(root: &Path) -> Result<Self, BpfError> {
        let pins = Self {
            root: root.to_owned(),
        };
        for dir in [pins.maps(), pins.links(), pins.pods()] {
            fs::create_dir_all(&dir).map_err(|e| BpfError::PinDir {
                path: dir,
                why: e.to_string(),
            })?;
        }
        Ok(pins)
    }

    /// Pinned maps, one file a map.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Links of the cgroup, one file a program.
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Links of pods, one file a network namespace, named by its cookie.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// The link of one pod.
    pub fn pod(&self, cookie: u64) -> PathBuf {
        self.pods().join(cookie.to_string())
    }
}

/// Removes every pin below `root`: the kernel then detaches all programs and frees all maps.
/// Links go before maps, so that no program runs on without its pins. The folder of all nodes' pins goes with the last of them. Returns how
/// many pins there were.
///
/// # Errors
/// A pin cannot be removed; it is named.
pub fn cleanup(root: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for dir in ["links", "pods", "maps"] {
        removed += remove_files(&root.join(dir))?;
    }
    match fs::remove_dir(root) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(named(root, e)),
        _ => {}
    }
    // Another node of this machine may have its own in it.
    if let Some(all) = root.parent().filter(|all| all.ends_with(ALL_NODES)) {
        let _ = fs::remove_dir(all);
    }
    Ok(removed)
}

/// Pins at `path`, in place of what is pinned there.
pub fn replace(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    remove(path)?;
    sys::pin(object, path)
}

/// Removes one pin; succeeds where there is none.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named(path, e)),
        _ => Ok(()),
    }
}

fn remove_files(dir: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(named(dir, e)),
    };
    for entry in &entries {
        remove(&entry.path())?;
    }
    fs::remove_dir(dir).map_err(|e| named(dir, e))?;
    Ok(entries.len())
}

fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleanup_removes_everything_and_may_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let (node, other) = (dir.path().join("warren/a"), dir.path().join("warren/b"));
        let pins = Pins::create(&node).unwrap();
        Pins::create(&other).unwrap();
        fs::write(pins.maps().join("pods"), "").unwrap();
        fs::write(pins.pod(7), "").unwrap();
        assert_eq!(cleanup(&node).unwrap(), 2);
        assert_eq!(cleanup(&node).unwrap(), 0);
        assert!(!node.exists() && other.exists());
        assert_eq!(cleanup(&other).unwrap(), 0);
        assert!(!dir.path().join("warren").exists());
    }
}
