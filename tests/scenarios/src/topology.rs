//! The manifests that a lab is brought up with.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::lab::Lab;
use crate::world::manifests;

/// Copies a folder of manifests, with the path of `warren-peer` filled in for `{{PEER}}`.
pub fn prepare(lab: &Lab, folder: &str) -> Result<TempDir> {
    copy(lab, folder, |text| text)
}

/// The same without the namespaces' labels: nothing is enrolled.
pub fn prepare_unlabelled(lab: &Lab, folder: &str) -> Result<TempDir> {
    copy(lab, folder, |text| {
        text.replace("\n  labels:\n    warren.dev/mesh: enabled\n", "\n")
    })
}

fn copy(lab: &Lab, folder: &str, change: impl Fn(String) -> String) -> Result<TempDir> {
    let from = manifests().join(folder);
    let to = tempfile::tempdir().context("cannot make a temporary directory")?;
    let peer = lab.program("warren-peer");
    let entries = fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        fill(&entry?.path(), to.path(), |text| {
            change(text.replace("{{PEER}}", &peer))
        })?;
    }
    Ok(to)
}

fn fill(file: &Path, to: &Path, change: impl Fn(String) -> String) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().context("a manifest without a name")?;
    fs::write(to.join(name), change(text)).context("cannot write a manifest")
}
