//! `RUN/pods.json`: what an agent that starts has to know of the pods that are already there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Record;

/// Version of the file.
const VERSION: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// [`VERSION`].
    version: u32,
    /// The next number to give to a pod.
    pub next_number: u32,
    /// All pods.
    pub pods: Vec<Record>,
}

impl Saved {
    /// What is to be kept now.
    pub fn new(next_number: u32, pods: Vec<Record>) -> Self {
        Self {
            version: VERSION,
            next_number,
            pods,
        }
    }
}

impl Default for Saved {
    fn default() -> Self {
        Self::new(1, Vec::new())
    }
}

/// Reads the file; an empty content where there is none, or none that can be used (which is logged).
pub fn load(path: &Path) -> Saved {
    read(path, "pods", VERSION, |saved: &Saved| saved.version).unwrap_or_default()
}

/// Reads a file of remembered `things`; None where there is none, or none of this version that can be used (which is logged).
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    things: &str,
    version: u32,
    version_of: fn(&T) -> u32,
) -> Option<T> {
    let data = match fs::read(path) {
        Ok(data) => data,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "the remembered {things} cannot be read");
            return None;
        }
    };
    match serde_json::from_slice(&data) {
        Ok(content) if version_of(&content) == version => Some(content),
        Ok(content) => {
            let version = version_of(&content);
            tracing::error!(version, path = %path.display(), "the remembered {things} are of another version");
            None
        }
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "the remembered {things} are damaged");
            None
        }
    }
}

/// Writes the file.
///
/// # Errors
/// It cannot be written.
pub fn save(path: &Path, saved: &Saved) -> io::Result<()> {
    replace(path, &serde_json::to_vec_pretty(saved)?)
}

/// Where a file of the agent is written before it takes its name: what a crash leaves.
pub fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("json.new")
}

/// Writes a file so that a reader sees the old or the new content, never a part.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = unfinished(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pods.json");
        assert_eq!(load(&path), Saved::default());
        let record = Record {
            workload: "c//Pod/shop/web".into(),
            number: 7,
            namespace: "shop".into(),
            name: "web".into(),
            uid: String::new(),
            netns: "/run/netns/web".into(),
            cookie: 9,
            addresses: vec!["10.0.0.1".parse().unwrap()],
            enrolled: true,
            in_doubt: false,
            former_port_reuse: Some(2),
        };
        let saved = Saved::new(8, vec![record]);
        save(&path, &saved).unwrap();
        assert_eq!(load(&path), saved);
        fs::write(&path, b"{\"version\":1,").unwrap();
        assert_eq!(load(&path), Saved::default());
    }
}
