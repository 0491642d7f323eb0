//! A node is drained while pods of a Deployment on it are asked.

use anyhow::{Result, ensure};

use super::load::{self, Load};
use super::world::World;

const NODE: &str = "b";

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("drain")?;
    space.web("web", 2, None)?;
    // By address: the cluster's DNS may have its only pod on that node.
    let address = space.value("service/web", ".spec.clusterIP")?;
    let target = format!("new:requests=http://{address}/");
    let load = Load::start(&space, "load", "a", &[&target])?;
    let result = load.during(|| {
        let drain = [
            "drain",
            NODE,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--force",
        ];
        world
            .kubectl
            .patient(&[&drain[..], &["--timeout=120s"]].concat())?;
        space.rolled_out("deployment/web")
    });
    let left = space.pods("app=web")?;
    world.kubectl.run(&["uncordon", NODE])?;
    let told = load::none_failed(&result?)?;
    ensure!(
        left.iter().all(|pod| pod["spec"]["nodeName"] != NODE),
        "pods are left on the node"
    );
    world.rolled_out("kube-system", "deployment/coredns")?;
    world.rolled_out(crate::mesh::SYSTEM, "deployment/warren-control")?;
    Ok(told)
}
