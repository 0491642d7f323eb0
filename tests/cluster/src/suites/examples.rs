//! Every example of the documentation is accepted by the API server and, where it is an object of ours, by the mesh.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::world::{LIMIT, World};
use crate::workload_image::WORKLOAD;
use crate::{commands, wait};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples");
/// What the examples take from a registry, which a test cluster has not.
const IMAGES: [&str; 2] = ["docker.io/library/debian:12", "docker.io/library/python:3"];

pub(super) fn run(world: &World) -> Result<String> {
    for image in IMAGES {
        commands::load::tag(WORKLOAD, image, &world.layout)?;
    }
    let files = files()?;
    let result = files.iter().try_for_each(|file| applied(world, file));
    let ready = result.and_then(|()| ready(world));
    for file in files.iter().rev() {
        let file = file.display().to_string();
        let delete = ["delete", "-f", &file, "--ignore-not-found", "--timeout=60s"];
        world.kubectl.patient(&delete)?;
    }
    ready?;
    Ok(format!("{} files", files.len()))
}

/// Namespaces are in the folder `shop`; what refers to them comes later.
fn files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(FOLDER).context(FOLDER)? {
        for file in std::fs::read_dir(folder?.path())? {
            found.push(file?.path());
        }
    }
    found.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    found.sort_by_key(|file| {
        (
            file.parent() != Some(&Path::new(FOLDER).join("shop")),
            file.clone(),
        )
    });
    Ok(found)
}

fn applied(world: &World, file: &Path) -> Result<()> {
    let name = file.display().to_string();
    world.kubectl.run(&["apply", "-f", &name])?;
    let accepted = || {
        let text = world.kubectl.run(&["get", "-f", &name, "-o=json"])?;
        let got: Value = serde_json::from_str(&text)?;
        let one = [got.clone()];
        let objects = got["items"].as_array().map_or(&one[..], Vec::as_slice);
        Ok(objects.iter().all(is_accepted))
    };
    wait::until(
        &format!("every object of {name} is accepted"),
        LIMIT,
        &[],
        accepted,
    )
    .with_context(|| {
        world
            .kubectl
            .run(&["get", "-f", &name, "-o=yaml"])
            .unwrap_or_default()
    })
}

/// Objects of Kubernetes have no such condition.
fn is_accepted(object: &Value) -> bool {
    let ours = object["apiVersion"]
        .as_str()
        .is_some_and(|version| version.starts_with("warren.dev/"));
    let conditions = object["status"]["conditions"].as_array();
    let fits = |condition: &Value| {
        condition["type"] == "Accepted"
            && condition["status"] == "True"
            && condition["observedGeneration"] == object["metadata"]["generation"]
    };
    !ours || conditions.is_some_and(|all| all.iter().any(fits))
}

fn ready(world: &World) -> Result<()> {
    world.rolled_out("shop", "daemonset/web")?;
    for space in ["shop", "outside"] {
        let space = format!("--namespace={space}");
        let wait = [
            "wait",
            "pod/client",
            &space,
            "--for=condition=Ready",
            "--timeout=60s",
        ];
        world.kubectl.patient(&wait)?;
    }
    let curl = ["curl", "-sSf", "--max-time", "5", "http://web.shop/"];
    let from = |space: &str| {
        let space = format!("--namespace={space}");
        world
            .kubectl
            .patient(&[&["exec", "client", &space, "--"], &curl[..]].concat())
    };
    wait::until("the client's answer", super::world::SOON, &[], || {
        from("shop").map(|_| true)
    })?;
    ensure!(
        from("outside").is_err(),
        "a client outside the mesh was let in"
    );
    Ok(())
}
