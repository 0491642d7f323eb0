//! The mesh's images: every program starts in a container of its own and tells its name.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use warren_images::{Component, components};

use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::mesh::VERSION;
use crate::{mesh, wait};

const LIMIT: Duration = Duration::from_secs(60);

/// Gives the archives in `folder` to every node and runs each once.
pub(super) fn start(kubectl: &Kubectl, layout: &Layout, folder: &Path) -> Result<()> {
    mesh::load_images(layout, folder)?;
    for component in components() {
        run(kubectl, component).with_context(|| component.image.to_owned())?;
    }
    Ok(())
}

fn run(kubectl: &Kubectl, component: &Component) -> Result<()> {
    let name = component.image;
    let image = format!("--image=warren.dev/{name}:{VERSION}");
    let never = ["--restart=Never", "--image-pull-policy=Never"];
    kubectl.run(&["run", name, &image, never[0], never[1], "--", "--version"])?;
    let path = "-o=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
    // Some take no flags and fail; they tell their names all the same.
    let ended = || Ok(!kubectl.run(&["get", "pod", name, path])?.is_empty());
    let result = wait::until("its end", LIMIT, &[], ended);
    result.with_context(|| kubectl.run(&["describe", "pod", name]).unwrap_or_default())?;
    let text = kubectl.run(&["logs", name])?;
    kubectl.run(&["delete", "pod", name, "--wait=false"])?;
    ensure!(text.contains(component.binary), "it printed {text:?}");
    Ok(())
}
