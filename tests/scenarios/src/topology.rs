//! The manifests that a lab is brought up with.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::lab::Lab;
use crate::world::manifests;

/// Copies a folder of manifests, with the path of `warren-peer` filled in for `{{PEER}}`.
pub fn prepare(lab: &Lab, folder: &str) -> Result<TempDir> {
    let from = manifests().join(folder);
    let to = tempfile::tempdir().context("cannot make a temporary directory")?;
    let peer = lab.program("warren-peer");
    let entries = fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        fill(&entry?.path(), to.path(), &peer)?;
    }
    Ok(to)
}

fn fill(file: &Path, to: &Path, peer: &str) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().context("a manifest without a name")?;
    fs::write(to.join(name), text.replace("{{PEER}}", peer)).context("cannot write a manifest")
}
