//! The mesh on a cluster: its charts, installed and taken away by Helm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use warren_images::components;

use crate::commands::load;
use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::machine::mounts;
use crate::{binaries, program};

/// The mesh's own namespace.
pub(crate) const SYSTEM: &str = "warren-system";
/// The tag of the images as they are built.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Another namespace that gets the roots.
pub(crate) const ROOTS_SPACE: &str = "default";
const NAMESPACE: [&str; 3] = ["--namespace", SYSTEM, "--create-namespace"];
const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/charts");

/// Gives the images of all components, whose archives are in `folder`, to every node.
pub(crate) fn load_images(layout: &Layout, folder: &Path) -> Result<()> {
    let archives: Vec<PathBuf> = components()
        .iter()
        .map(|component| folder.join(format!("{}.tar", component.image)))
        .collect();
    load::load(&archives, layout)
}

/// Installs both charts and waits for every component; the images are on the nodes already.
pub(crate) fn install(kubectl: &Kubectl, layout: &Layout) -> Result<()> {
    install_kinds(layout)?;
    install_mesh(kubectl, layout)
}

/// Looks both charts over and installs the one with our kinds of objects.
pub(crate) fn install_kinds(layout: &Layout) -> Result<()> {
    for name in ["crds", "mesh"] {
        program::output(helm(layout)?.arg("lint").arg("--strict").arg(chart(name)))?;
    }
    let mut command = helm(layout)?;
    command.args(["install", "warren-crds"]).arg(chart("crds"));
    program::output(command.args(NAMESPACE)).map(drop)
}

/// Installs the mesh and waits for every component.
pub(crate) fn install_mesh(kubectl: &Kubectl, layout: &Layout) -> Result<()> {
    let cgroups = format!("node.cgroupRoot={}", mounts::unified()?.display());
    let mut command = helm(layout)?;
    command.args(["install", "warren"]).arg(chart("mesh"));
    command
        .args(NAMESPACE)
        .args(["--set", "image.pullPolicy=Never", "--set", &cgroups]);
    let roots = format!("control.rootConfigMapNamespaces={{{ROOTS_SPACE}}}");
    command.args(["--set", &roots]);
    command.args(["--wait", "--timeout", "120s"]);
    program::output(&mut command).with_context(|| {
        let state = ["get", "pods,events", "--namespace", SYSTEM, "-o=wide"];
        kubectl.run(&state).unwrap_or_default()
    })?;
    Ok(())
}

/// Gives the images of all components, which every node has, another tag as well.
pub(crate) fn tag_images(layout: &Layout, tag: &str) -> Result<()> {
    let mut images = components().iter().map(|component| component.image);
    images.try_for_each(|image| {
        let name = |tag| format!("warren.dev/{image}:{tag}");
        load::tag(&name(VERSION), &name(tag), layout)
    })
}

/// Goes on with another value, such as the tag of images that are on the nodes already; the start of what changes is not waited for.
pub(crate) fn set(layout: &Layout, value: &str) -> Result<()> {
    let mut command = helm(layout)?;
    command.args(["upgrade", "warren", "--reset-then-reuse-values"]);
    command.args(["--set", value]);
    command.arg(chart("mesh")).args(["--namespace", SYSTEM]);
    program::output(&mut command).map(drop)
}

/// Takes the mesh away, its kinds of objects with all objects, and what the controller had made, by the mesh's own program beside this one.
/// Returns what it printed.
pub(crate) fn purge(layout: &Layout) -> Result<String> {
    let beside = std::env::current_exe()?.with_file_name("warren");
    let mut command = Command::new(&beside);
    command.args(["uninstall", "--purge-crds", "--yes", "--timeout", "120s"]);
    command.args(["--namespace", SYSTEM]);
    command.arg("--kubeconfig").arg(layout.kubeconfig());
    command
        .arg("--helm")
        .arg(binaries::ensure_all()?.program("helm")?);
    program::output(&mut command)
}

/// Takes the mesh away by Helm alone, and its kinds of objects with all objects.
pub(crate) fn uninstall(layout: &Layout) -> Result<()> {
    let mut leave = helm(layout)?;
    leave.args(["upgrade", "warren", "--reuse-values", "--set", "leave=true"]);
    leave.arg(chart("mesh"));
    leave.args(["--namespace", SYSTEM, "--wait", "--timeout", "120s"]);
    program::output(&mut leave)?;
    for release in ["warren", "warren-crds"] {
        let mut command = helm(layout)?;
        command.args(["uninstall", release, "--namespace", SYSTEM]);
        command.args(["--cascade", "foreground"]);
        program::output(command.args(["--wait", "--timeout", "120s"]))?;
    }
    Ok(())
}

fn chart(name: &str) -> PathBuf {
    Path::new(CHARTS).join(name)
}

fn helm(layout: &Layout) -> Result<Command> {
    let mut command = Command::new(binaries::ensure_all()?.program("helm")?);
    command.env("KUBECONFIG", layout.kubeconfig());
    Ok(command)
}
