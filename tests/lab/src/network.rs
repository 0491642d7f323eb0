//! The lab's wires: nodes on one bridge, pods on point-to-point links, routes and nothing else.
//!
//! No address is ever translated here; kube-proxy's table (see `kube_proxy`) is the only NAT of a lab.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::ipam::{self, GATEWAY_V4, GATEWAY_V6, OUTSIDE};
use crate::netns;
use crate::paths::Paths;

/// Builds the bridge and every node. `nodes` are in the order of their numbers.
pub fn build_nodes(paths: &Paths, nodes: &[String]) -> Result<()> {
    let outside = paths.outside_netns();
    netns::create(&outside, false)?;
    for node in nodes {
        netns::create(&paths.node_netns(node), true)?;
    }
    let mut script = String::from(
        "link set lo up\nlink add br0 type bridge\nlink set br0 addrgenmode none up\n",
    );
    let _ = writeln!(script, "addr add 172.18.0.{OUTSIDE}/24 dev br0");
    let _ = writeln!(script, "addr add fd00:172:18::{OUTSIDE:x}/64 dev br0 nodad");
    for (index, node) in (0u8..).zip(nodes) {
        let netns = paths.node_netns(node);
        let _ = writeln!(
            script,
            "link add node{index} mtu 1500 type veth peer name eth0 mtu 1500 netns {netns}"
        );
        let _ = writeln!(
            script,
            "link set node{index} master br0 addrgenmode none up"
        );
        script.push_str(&pod_routes(index));
    }
    netns::ip_batch(&outside, &script)?;
    for (index, node) in (0u8..).zip(nodes) {
        netns::ip_batch(&paths.node_netns(node), &node_script(index, nodes.len()))?;
    }
    Ok(())
}

fn node_script(index: u8, count: usize) -> String {
    let (v4, v6) = (ipam::node_v4(index), ipam::node_v6(index));
    let mut script = String::from("link set lo up\nlink set eth0 up\n");
    let _ = writeln!(
        script,
        "addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad"
    );
    let _ = writeln!(
        script,
        "addr add {}/32 dev lo\naddr add {}/128 dev lo nodad",
        ipam::DNS_V4,
        ipam::DNS_V6
    );
    let _ = writeln!(script, "route add default via 172.18.0.{OUTSIDE}");
    let _ = writeln!(script, "route add default via fd00:172:18::{OUTSIDE:x}");
    for other in (0u8..).take(count).filter(|o| *o != index) {
        script.push_str(&pod_routes(other));
    }
    script
}

fn pod_routes(node: u8) -> String {
    let [v4, v6] = ipam::pod_cidrs(node);
    format!(
        "route add {v4} via {}\nroute add {v6} via {}\n",
        ipam::node_v4(node),
        ipam::node_v6(node)
    )
}

/// What a pod's network needs.
#[derive(Clone, Debug)]
pub struct PodLink {
    /// Network namespace of the pod's node.
    pub node_netns: String,
    /// Number of the node.
    pub node: u8,
    /// Network namespace of the pod.
    pub netns: String,
    /// Name of the host end of the link.
    pub host_end: String,
    /// The pod's IPv4 address, if it has one.
    pub v4: Option<Ipv4Addr>,
    /// The pod's IPv6 address, if it has one.
    pub v6: Option<Ipv6Addr>,
}

/// Creates the pod's namespace and its link to the node.
pub fn attach_pod(link: &PodLink) -> Result<()> {
    netns::create(&link.netns, false)?;
    netns::ip_batch(&link.node_netns, &host_script(link))?;
    netns::ip_batch(&link.netns, &pod_script(link))
}

/// Removes the pod's link and namespace. Missing ones are fine.
pub fn detach_pod(link: &PodLink) -> Result<()> {
    // The link dies with the namespace, but only after a delay; a new pod may want the routes at once.
    let _ = netns::ip_batch(&link.node_netns, &format!("link del {}\n", link.host_end));
    netns::delete(&link.netns)
}

fn host_script(link: &PodLink) -> String {
    let (dev, netns) = (&link.host_end, &link.netns);
    let mut script =
        format!("link add {dev} mtu 1500 type veth peer name eth0 mtu 1500 netns {netns}\n");
    let _ = writeln!(script, "link set {dev} addrgenmode none up");
    let _ = writeln!(script, "addr add {GATEWAY_V4}/32 dev {dev} scope link");
    let _ = writeln!(script, "addr add {GATEWAY_V6}/64 dev {dev} nodad");
    if let Some(v4) = link.v4 {
        let _ = writeln!(
            script,
            "route add {v4} dev {dev} src {}",
            ipam::node_v4(link.node)
        );
    }
    if let Some(v6) = link.v6 {
        let _ = writeln!(
            script,
            "route add {v6} dev {dev} src {}",
            ipam::node_v6(link.node)
        );
    }
    script
}

fn pod_script(link: &PodLink) -> String {
    let mut script = String::from("link set lo up\nlink set eth0 up\n");
    if let Some(v4) = link.v4 {
        let _ = writeln!(script, "addr add {v4}/32 dev eth0");
        let _ = writeln!(script, "route add {GATEWAY_V4} dev eth0 scope link");
        let _ = writeln!(
            script,
            "route add default via {GATEWAY_V4} dev eth0 src {v4}"
        );
    }
    if let Some(v6) = link.v6 {
        let _ = writeln!(script, "addr add {v6}/128 dev eth0 nodad");
        let _ = writeln!(
            script,
            "route add default via {GATEWAY_V6} dev eth0 src {v6}"
        );
    }
    script
}
