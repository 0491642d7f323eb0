//! A pod on the node's network is not in the mesh, whatever its namespace's label says: STRICT pods refuse it, and it answers them.

use anyhow::{Result, ensure};

use super::world::World;

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.strict("hostnet")?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    space.apply(include_str!("host_network.yaml"), &[])?;
    space.wait("pod/host", "condition=Ready")?;
    let host = space.value("pod/host", ".status.hostIP")?;
    let url = format!("http://{host}:18080/");
    for from in ["deployment/near", "deployment/far"] {
        let answer = space.fetch(from, &url)?;
        ensure!(answer == "a", "{url} answered {from} {answer:?}");
    }
    for to in ["near", "far"] {
        let pod = &space.pods(&format!("app={to}"))?[0];
        let address = pod["status"]["podIP"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let answer = space.fetch("host", &format!("http://{address}:8080/"));
        ensure!(
            answer.is_err(),
            "{to} answered the pod on the node's network: {answer:?}"
        );
        let other = if to == "near" {
            "deployment/far"
        } else {
            "deployment/near"
        };
        space.fetch(other, &format!("http://{address}:8080/"))?;
    }
    Ok("reached by pods of both nodes, refused by them".to_owned())
}
