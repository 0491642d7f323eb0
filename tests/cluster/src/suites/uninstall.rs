//! The mesh is taken away under load: pods talk on in plaintext, and nothing of it is left.

use anyhow::{Result, ensure};

use super::load::{self, Load};
use super::world::World;
use crate::mesh;

/// On a node: what the mesh put there.
const REMAINS: &str = "ls /opt/cni/bin/warren-cni 2>/dev/null; grep -l warren /etc/cni/net.d/* 2>/dev/null; \
    ls -d /sys/fs/bpf/warren 2>/dev/null; pgrep -l '^warren-(agent|ztunnel|control|cni)'; true";

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.enrolled("leave")?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    let fresh = ["new:one node=http://near/", "new:two nodes=http://far/"];
    let load = Load::start(&space, "load", "a", &fresh)?;
    let kept = Load::start(&space, "kept", "a", &load::KEPT)?;
    let mut others = None;
    let counts = load.during(|| {
        others = Some(kept.during(|| mesh::uninstall(&world.layout))?);
        Ok(())
    })?;
    let told = load::none_failed(&counts)?;
    // The tunnels go, and what they carry goes with them, once.
    let others = load::kept(&others.unwrap_or_default(), 1)?;
    nothing_left(world)?;
    // New pods start without it.
    space.web("late", 2, None)?;
    space.fetch("deployment/late", "http://far/")?;
    Ok(format!("{told}; {others}"))
}

fn nothing_left(world: &World) -> Result<()> {
    for node in ["a", "b"] {
        let output = world.on_node(node, &["sh", "-c", REMAINS])?;
        let left = String::from_utf8_lossy(&output.stdout)
            .trim()
            .replace('\n', ", ");
        ensure!(left.is_empty(), "left on node {node}: {left}");
    }
    let kinds = "crd,clusterrole,clusterrolebinding,validatingwebhookconfiguration";
    let names = world.kubectl.run(&["get", kinds, "-o=name"])?;
    let ours: Vec<&str> = names
        .lines()
        .filter(|name| name.contains("warren"))
        .collect();
    ensure!(ours.is_empty(), "left in the cluster: {}", ours.join(", "));
    let space = format!("--namespace={}", mesh::SYSTEM);
    let all = "deployment,daemonset,service,serviceaccount,pod,role,rolebinding";
    let names = world.kubectl.run(&["get", all, &space, "-o=name"])?;
    let ours: Vec<&str> = names
        .lines()
        .filter(|name| name.contains("warren"))
        .collect();
    ensure!(
        ours.is_empty(),
        "left in {}: {}",
        mesh::SYSTEM,
        ours.join(", ")
    );
    Ok(())
}
