//! The manifests that a lab is brought up with.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::lab::Lab;
use crate::world::manifests;

/// The image that `warren-cluster` gives its nodes for tests.
const WORKLOAD: &str = "warren.dev/cluster-workload:1";

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

/// The same for a cluster, whose pods are then as much at home on this machine as a lab's are: they see its programs and its temporary
/// files at the same paths.
pub fn prepare_for_cluster(lab: &Lab, folder: &str) -> Result<TempDir> {
    let bin = Path::new(&lab.program("warren-peer"))
        .parent()
        .map(|folder| folder.display().to_string())
        .context("warren-peer has no folder")?;
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/programs");
    let folders = ["/usr", "/tmp", &bin, programs];
    let each = |line: fn(usize, &str) -> String| -> String {
        let lines = folders.iter().enumerate();
        lines.map(|(index, folder)| line(index, folder)).collect()
    };
    let mounts = each(|index, path| format!("    - {{name: f{index}, mountPath: {path}}}\n"));
    let volumes =
        each(|index, path| format!("  - {{name: f{index}, hostPath: {{path: {path}}}}}\n"));
    copy(lab, folder, |text| {
        text.replace(
            "    image: host\n",
            &format!(
                "    image: {WORKLOAD}\n    imagePullPolicy: Never\n    volumeMounts:\n{mounts}"
            ),
        )
        .replace(
            "  containers:\n",
            &format!("  terminationGracePeriodSeconds: 0\n  volumes:\n{volumes}  containers:\n"),
        )
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
