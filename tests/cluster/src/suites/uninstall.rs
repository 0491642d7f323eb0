//! The mesh is taken away under load: pods talk on in plaintext, and nothing of it is left.

use anyhow::{Result, ensure};

use super::load::{self, Load};
use super::world::{SOON, World};
use crate::mesh::{self, ROOTS_SPACE};
use crate::wait;

/// On a node: what the mesh put there. The folders that it was given may stay, empty.
const REMAINS: &str = "ls /opt/cni/bin/warren-cni 2>/dev/null; grep -l warren /etc/cni/net.d/* 2>/dev/null; \
    ls -d /etc/cni/net.d/*.warren-saved /sys/fs/bpf/warren 2>/dev/null; \
    find /run/warren /var/lib/warren -mindepth 1 2>/dev/null; \
    pgrep -l '^warren-(agent|ztunnel|control|cni)'; true";
/// Whether they are in a namespace or not. Not the namespace, which Helm made.
const KINDS: &str = "crd,clusterrole,clusterrolebinding,validatingwebhookconfiguration,mutatingwebhookconfiguration,priorityclass,\
    deployment,daemonset,replicaset,controllerrevision,pod,service,endpoints,endpointslice,serviceaccount,role,rolebinding,\
    secret,configmap,lease,poddisruptionbudget,networkpolicy";

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.enrolled("leave")?;
    space.web("near", 1, Some("a"))?;
    space.web("far", 1, Some("b"))?;
    let fresh = ["new:one node=http://near/", "new:two nodes=http://far/"];
    let load = Load::start(&space, "load", "a", &fresh)?;
    let kept = Load::start(&space, "kept", "a", &load::KEPT)?;
    let roots = "configmap/warren-ca-root";
    space.until("the roots in another namespace", || {
        Ok(world.value(ROOTS_SPACE, roots, ".metadata.name").is_ok())
    })?;
    let mut others = None;
    let counts = load.during(|| {
        others = Some(kept.during(|| mesh::purge(&world.layout).map(drop))?);
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
    // What the garbage collector takes away goes a little later.
    wait::until("an API server without the mesh", SOON, &[], || {
        let left = objects(world)?;
        ensure!(left.is_empty(), "left in the cluster: {}", left.join(", "));
        Ok(true)
    })?;
    let parts = ["labels", "annotations"].map(|part| format!("{{.items[*].metadata.{part}}}"));
    let path = format!("-o=jsonpath={}{{.items[*].spec}}", parts.concat());
    let nodes = world.kubectl.run(&["get", "nodes", &path])?;
    ensure!(!nodes.contains("warren"), "left at a node: {nodes}");
    Ok(())
}

/// Objects that have our name, or are in our namespace and not of those that Kubernetes puts into each.
fn objects(world: &World) -> Result<Vec<String>> {
    let columns = "-o=custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name";
    let all = ["get", KINDS, "--all-namespaces", "--no-headers", columns];
    let rows = world.kubectl.patient(&all)?;
    ensure!(rows.contains("coredns"), "not all is seen: {rows}");
    let rows = rows
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = |row: &Vec<&str>| match row[..] {
        [_, mesh::SYSTEM, "default" | "kube-root-ca.crt"] => false,
        [_, namespace, name] => namespace == mesh::SYSTEM || name.contains("warren"),
        _ => true,
    };
    Ok(rows.filter(ours).map(|row| row.join(" ")).collect())
}
