//! The wires: a bridge in the control plane's network, a link from it to each node and one to this machine, and routes. No address is
//! translated here.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::layout::{CONTROL, Layout};
use crate::plan::{Pair, Plan};
use crate::program;

/// Where `ip netns` keeps network namespaces.
pub const NETNS_DIR: &str = "/run/netns";

/// Makes all network namespaces and what connects them.
///
/// # Errors
/// `ip` fails.
pub fn build(layout: &Layout, plan: &Plan) -> Result<()> {
    let control = layout.netns(CONTROL);
    for machine in std::iter::once(CONTROL).chain(plan.nodes.iter().map(String::as_str)) {
        program::output(Command::new("ip").args(["netns", "add", &layout.netns(machine)]))?;
    }
    batch(Some(&control), &control_script(layout, plan))?;
    for (index, node) in plan.nodes.iter().enumerate() {
        batch(Some(&layout.netns(node)), &node_script(plan, index))?;
    }
    link_here(layout, plan).context("connect this machine with the cluster")
}

/// Removes namespaces and link. Missing is fine.
///
/// # Errors
/// `ip` fails.
pub fn destroy(layout: &Layout) -> Result<()> {
    let link = layout.link();
    if Path::new("/sys/class/net").join(&link).exists() {
        // It may go by itself this very moment, with the namespace of its other end.
        let _ = program::output(Command::new("ip").args(["link", "del", &link]));
    }
    for name in namespaces(layout) {
        program::output(Command::new("ip").args(["netns", "del", &name]))?;
    }
    Ok(())
}

/// Names of the cluster's network namespaces that exist.
pub fn namespaces(layout: &Layout) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(NETNS_DIR) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(&layout.netns_prefix()))
        .collect()
}

fn control_script(layout: &Layout, plan: &Plan) -> String {
    let mut script = String::from("link set lo up\nlink add br0 type bridge\nlink set br0 up\n");
    addresses(&mut script, "br0", plan.control());
    for (index, node) in plan.nodes.iter().enumerate() {
        let netns = layout.netns(node);
        let _ = writeln!(
            script,
            "link add node{index} type veth peer name eth0 netns {netns}"
        );
        let _ = writeln!(
            script,
            "link set node{index} master br0 addrgenmode none up"
        );
        pod_routes(&mut script, plan, index);
    }
    script
}

/// Interfaces that forward keep their link-local address: the kernel asks for a forwarded packet's next neighbour from no other
/// (`ndisc_send_ns`).
fn node_script(plan: &Plan, index: usize) -> String {
    let mut script = String::from("link set lo up\nlink set eth0 up\n");
    addresses(&mut script, "eth0", plan.node(index));
    let (v4, v6) = plan.control();
    let _ = writeln!(
        script,
        "route add default via {v4}\nroute add default via {v6}"
    );
    for other in (0..plan.nodes.len()).filter(|other| *other != index) {
        pod_routes(&mut script, plan, other);
    }
    script
}

/// The API server is reached from this machine, so that every program with the kubeconfig works; no route to pods is added here.
fn link_here(layout: &Layout, plan: &Plan) -> Result<()> {
    let (control, link) = (layout.netns(CONTROL), layout.link());
    // Made over there and moved here, so that it never appears here under another name.
    let here = std::process::id();
    batch(
        Some(&control),
        &format!(
            "link add outside type veth peer name {link} netns {here}\nlink set outside master br0 addrgenmode none up\n"
        ),
    )?;
    let mut script = format!("link set {link} addrgenmode none up\n");
    addresses(&mut script, &link, plan.outside());
    batch(None, &script)
}

fn addresses(script: &mut String, device: &str, (v4, v6): Pair) {
    let _ = writeln!(
        script,
        "addr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad"
    );
}

fn pod_routes(script: &mut String, plan: &Plan, node: usize) {
    let ([pods_v4, pods_v6], (v4, v6)) = (plan.pods(node), plan.node(node));
    let _ = writeln!(
        script,
        "route add {pods_v4} via {v4}\nroute add {pods_v6} via {v6}"
    );
}

fn batch(netns: Option<&str>, script: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-netns", netns]);
    }
    command.args(["-batch", "-"]);
    program::feed(&mut command, script)
        .map(drop)
        .with_context(|| {
            format!(
                "ip -batch in {}:\n{script}",
                netns.unwrap_or("this network")
            )
        })
}
