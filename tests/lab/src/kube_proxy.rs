//! kube-proxy: an nftables table that turns Service addresses into endpoints, for pods that are not in the mesh.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::Command;

use anyhow::Result;

use crate::netns;
use crate::services::{Family, ServiceView};

/// Name of the table in each node's network namespace.
pub const TABLE: &str = "lab-kube-proxy";

/// Loads the rules into the node's network namespace `name`, replacing what was there in one transaction.
pub fn load(name: &str, rules: &str) -> Result<()> {
    netns::within(name, || {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        crate::process::feed(command, rules.as_bytes())
    })
}

/// The whole table for `services`: a random choice among usable endpoints.
pub fn rules(services: &[ServiceView]) -> String {
    let mut out = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    let mut maps = [Vec::new(), Vec::new()];
    let mut hairpin = [Vec::new(), Vec::new()];
    out.push_str("chain none { }\n");
    for (index, service) in services.iter().enumerate() {
        for (number, _) in service.ports.iter().enumerate() {
            for vip in &service.cluster_ips {
                let chain = port_chain(&mut out, (index, number), service, *vip, &mut hairpin);
                let port = &service.ports[number];
                let element = format!("{vip} . {} . {} : goto {chain}", port.protocol, port.port);
                maps[slot(*vip)].push(element);
            }
        }
    }
    table_end(&mut out, &maps, &hairpin);
    out
}

fn slot(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

fn port_chain(
    out: &mut String,
    (index, number): (usize, usize),
    service: &ServiceView,
    vip: IpAddr,
    hairpin: &mut [Vec<String>; 2],
) -> String {
    let family = Family::of(vip);
    let protocol = &service.ports[number].protocol;
    let targets: Vec<(IpAddr, u16)> = service
        .usable()
        .filter_map(|e| {
            Some((
                *e.addresses.iter().find(|a| Family::of(**a) == family)?,
                e.ports[number]?,
            ))
        })
        .collect();
    if targets.is_empty() {
        return "none".into();
    }
    let base = format!("s{index}p{number}{}", family.word().to_lowercase());
    for (i, (address, port)) in targets.iter().enumerate() {
        let target = match address {
            IpAddr::V4(a) => format!("ip to {a}:{port}"),
            IpAddr::V6(a) => format!("ip6 to [{a}]:{port}"),
        };
        let _ = writeln!(
            out,
            "chain {base}e{i} {{\n meta l4proto {protocol} dnat {target}\n}}"
        );
        let pair = format!("{address} . {address}");
        if !hairpin[slot(*address)].contains(&pair) {
            hairpin[slot(*address)].push(pair);
        }
    }
    let choices: Vec<String> = (0..targets.len())
        .map(|i| format!("{i} : goto {base}e{i}"))
        .collect();
    let _ = writeln!(
        out,
        "chain {base} {{\n numgen random mod {} vmap {{ {} }}\n}}",
        targets.len(),
        choices.join(", ")
    );
    base
}

fn table_end(out: &mut String, maps: &[Vec<String>; 2], hairpin: &[Vec<String>; 2]) {
    let elements = |list: &[String]| {
        if list.is_empty() {
            String::new()
        } else {
            format!("elements = {{ {} }};", list.join(", "))
        }
    };
    for (i, kind) in ["ipv4_addr", "ipv6_addr"].iter().enumerate() {
        let _ = writeln!(
            out,
            "map vip{i} {{ type {kind} . inet_proto . inet_service : verdict; {} }}",
            elements(&maps[i])
        );
        let _ = writeln!(
            out,
            "set hairpin{i} {{ type {kind} . {kind}; {} }}",
            elements(&hairpin[i])
        );
    }
    for (name, hook) in [
        ("prerouting", "prerouting priority dstnat"),
        ("output", "output priority -100"),
    ] {
        let _ = writeln!(
            out,
            "chain {name} {{ type nat hook {hook};\n ip daddr . meta l4proto . th dport vmap @vip0\n ip6 daddr . meta l4proto . th dport vmap @vip1\n}}"
        );
    }
    // A pod that reaches itself through its Service needs an answer that comes back through the node.
    out.push_str(
        "chain postrouting { type nat hook postrouting priority srcnat;\n ct status dnat ip saddr . ip daddr @hairpin0 masquerade\n ct status dnat ip6 saddr . ip6 daddr @hairpin1 masquerade\n}\n}\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{EndpointView, PortView};
    use serde_json::json;

    fn service(endpoints: &[&str]) -> ServiceView {
        let endpoint = |ip: &&str| EndpointView {
            pod: "p".into(),
            uid: "u".into(),
            node: "a".into(),
            addresses: vec![ip.parse().unwrap()],
            ports: vec![Some(8080)],
            ready: true,
            hostname: None,
        };
        ServiceView {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "s".into(),
            cluster_ips: vec!["10.96.0.21".parse().unwrap()],
            families: vec![Family::V4],
            external_name: None,
            ports: vec![PortView {
                name: "http".into(),
                port: 80,
                protocol: "tcp".into(),
                target: json!(8080),
            }],
            endpoints: endpoints.iter().map(endpoint).collect(),
            publish_not_ready: false,
            selected: true,
        }
    }

    #[test]
    fn chooses_among_endpoints_of_the_family() {
        let text = rules(&[service(&["10.244.0.2", "10.244.1.2", "fd00::2"])]);
        assert!(
            text.contains("numgen random mod 2 vmap { 0 : goto s0p0ipv4e0, 1 : goto s0p0ipv4e1 }"),
            "{text}"
        );
        assert!(text.contains("10.96.0.21 . tcp . 80 : goto s0p0ipv4"));
        assert!(text.contains("dnat ip to 10.244.1.2:8080"));
        assert!(!text.contains("fd00::2"));
    }

    #[test]
    fn a_service_without_endpoints_leads_nowhere() {
        assert!(rules(&[service(&[])]).contains("10.96.0.21 . tcp . 80 : goto none"));
    }
}
