//! An image: its files, and how a container of it starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::archive;
use crate::tree::Tree;

/// An image of one layer.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Name and tag: `warren.dev/warren-agent:0.1.0`.
    pub name: String,
    /// Its files.
    pub tree: Tree,
    /// What every container of it runs.
    pub entrypoint: Vec<String>,
    /// Arguments unless the container names others.
    pub arguments: Vec<String>,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// `uid:gid`; root where empty.
    pub user: String,
    /// Labels, as `org.opencontainers.image.version`.
    pub labels: BTreeMap<String, String>,
}

impl Image {
    /// Writes the image as an OCI archive and returns the digest of its manifest. The file appears whole or not at all.
    ///
    /// # Errors
    /// A file of the tree cannot be read, or the archive cannot be written.
    pub fn write(&self, path: &Path) -> Result<String> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        archive::write(self, path).with_context(|| format!("write image {}", self.name))
    }

    /// The configuration that names the layer, `application/vnd.oci.image.config.v1+json`.
    pub(crate) fn configuration(&self, layer: &str) -> Value {
        let mut config = json!({
            "Entrypoint": self.entrypoint,
            "Cmd": self.arguments,
            "Env": self.environment,
            "Labels": self.labels,
            "WorkingDir": "/",
        });
        if !self.user.is_empty() {
            config["User"] = json!(self.user);
        }
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer]},
        })
    }
}

/// This machine's architecture in OCI's (Go's) words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
