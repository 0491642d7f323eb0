//! The programs of Kubernetes and its surroundings, built from Go modules once and kept.
//!
//! `CACHE/MODULE-KEY/` holds a module's programs; the key is the hash of its sources, its `go.sum`, its build settings and Go's version.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

mod build;
mod modules;

pub use build::{ensure, ensure_all};

/// Where built programs are kept unless `WARREN_CLUSTER_CACHE` says otherwise: `warren-cluster` in the user's cache folder.
///
/// # Errors
/// There is no home folder.
pub fn cache() -> Result<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = set("WARREN_CLUSTER_CACHE") {
        return Ok(path);
    }
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    let caches = caches
        .context("no home folder: set WARREN_CLUSTER_CACHE to a folder for built programs")?;
    Ok(caches.join("warren-cluster"))
}

/// Built programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    folders: Vec<PathBuf>,
}

impl Binaries {
    /// Folders to put into `PATH`.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// A program by its name.
    ///
    /// # Errors
    /// No module has it.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        self.folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.exists())
            .with_context(|| format!("no Go module of the cluster gives a program {name}"))
    }

    /// The CNI plugins' folder.
    ///
    /// # Errors
    /// It is not built.
    pub fn cni_plugins(&self) -> Result<PathBuf> {
        let plugin = self.program("host-local")?;
        Ok(plugin.parent().map(Path::to_path_buf).unwrap_or_default())
    }

    /// Programs' names and sizes in bytes, for people.
    pub fn list(&self) -> Vec<(String, u64)> {
        let entries = self
            .folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten();
        let mut all: Vec<(String, u64)> = entries
            .filter_map(|entry| {
                Some((
                    entry.path().to_string_lossy().into_owned(),
                    entry.metadata().ok()?.len(),
                ))
            })
            .collect();
        all.sort();
        all
    }
}
