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

/// The whole table for `services`: a random choice among usable endpoints, a refusal where there is none.
pub fn rules(services: &[ServiceView]) -> String {
    let mut table = Table::default();
    for (index, service) in services.iter().enumerate() {
        for number in 0..service.ports.len() {
            for vip in &service.cluster_ips {
                table.add(&format!("s{index}p{number}"), service, number, *vip);
            }
        }
    }
    table.finish()
}

/// The table in the making; what comes in pairs is v4, then v6.
#[derive(Default)]
struct Table {
    chains: String,
    vips: [Vec<String>; 2],
    hairpin: [Vec<String>; 2],
    refused: [Vec<String>; 2],
}

impl Table {
    fn add(&mut self, base: &str, service: &ServiceView, number: usize, vip: IpAddr) {
        let slot = usize::from(vip.is_ipv6());
        let port = &service.ports[number];
        let key = format!("{vip} . {} . {}", port.protocol, port.port);
        let targets = targets(service, number, Family::of(vip));
        if targets.is_empty() {
            self.refused[slot].push(key);
            return;
        }
        let base = format!("{base}v{}", 4 + 2 * slot);
        for (i, (address, target_port)) in targets.iter().enumerate() {
            let target = match address {
                IpAddr::V4(a) => format!("ip to {a}:{target_port}"),
                IpAddr::V6(a) => format!("ip6 to [{a}]:{target_port}"),
            };
            let protocol = &port.protocol;
            let _ = writeln!(
                self.chains,
                "chain {base}e{i} {{\n meta l4proto {protocol} dnat {target}\n}}"
            );
            let pair = format!("{address} . {address}");
            if !self.hairpin[slot].contains(&pair) {
                self.hairpin[slot].push(pair);
            }
        }
        let count = targets.len();
        let choices: Vec<String> = (0..count)
            .map(|i| format!("{i} : goto {base}e{i}"))
            .collect();
        let choices = choices.join(", ");
        let _ = writeln!(
            self.chains,
            "chain {base} {{\n numgen random mod {count} vmap {{ {choices} }}\n}}"
        );
        self.vips[slot].push(format!("{key} : goto {base}"));
    }

    fn finish(self) -> String {
        let mut out = format!(
            "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{}",
            self.chains
        );
        for (i, kind) in ["ipv4_addr", "ipv6_addr"].iter().enumerate() {
            let key = format!("{kind} . inet_proto . inet_service");
            let _ = writeln!(
                out,
                "map vip{i} {{ type {key} : verdict; {} }}",
                elements(&self.vips[i])
            );
            let _ = writeln!(
                out,
                "set refused{i} {{ type {key}; {} }}",
                elements(&self.refused[i])
            );
            let _ = writeln!(
                out,
                "set hairpin{i} {{ type {kind} . {kind}; {} }}",
                elements(&self.hairpin[i])
            );
        }
        for (name, hook) in [
            ("prerouting", "prerouting priority dstnat"),
            ("output", "output priority -100"),
        ] {
            let _ = writeln!(out, "chain {name} {{ type nat hook {hook};");
            let _ = writeln!(out, " ip daddr . meta l4proto . th dport vmap @vip0");
            let _ = writeln!(out, " ip6 daddr . meta l4proto . th dport vmap @vip1\n}}");
        }
        for hook in ["forward", "output"] {
            let _ = writeln!(
                out,
                "chain refuse-{hook} {{ type filter hook {hook} priority filter;"
            );
            let _ = writeln!(out, " ip daddr . meta l4proto . th dport @refused0 reject");
            let _ = writeln!(
                out,
                " ip6 daddr . meta l4proto . th dport @refused1 reject\n}}"
            );
        }
        // A pod that reaches itself through its Service needs an answer that comes back through the node.
        out.push_str("chain postrouting { type nat hook postrouting priority srcnat;\n");
        out.push_str(" ct status dnat ip saddr . ip daddr @hairpin0 masquerade\n");
        out.push_str(" ct status dnat ip6 saddr . ip6 daddr @hairpin1 masquerade\n}\n}\n");
        out
    }
}

fn targets(service: &ServiceView, number: usize, family: Family) -> Vec<(IpAddr, u16)> {
    let of_family = |a: &&IpAddr| Family::of(**a) == family;
    let usable = service.usable();
    usable
        .filter_map(|e| Some((*e.addresses.iter().find(of_family)?, e.ports[number]?)))
        .collect()
}

fn elements(list: &[String]) -> String {
    if list.is_empty() {
        String::new()
    } else {
        format!("elements = {{ {} }};", list.join(", "))
    }
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
            text.contains("numgen random mod 2 vmap { 0 : goto s0p0v4e0, 1 : goto s0p0v4e1 }"),
            "{text}"
        );
        assert!(text.contains("10.96.0.21 . tcp . 80 : goto s0p0v4"));
        assert!(text.contains("dnat ip to 10.244.1.2:8080"));
        assert!(!text.contains("fd00::2"));
    }

    #[test]
    fn a_service_without_endpoints_is_refused() {
        let text = rules(&[service(&[])]);
        assert!(text.contains("set refused0 { type ipv4_addr . inet_proto . inet_service; elements = { 10.96.0.21 . tcp . 80 }; }"), "{text}");
        assert!(!text.contains("numgen"), "{text}");
    }
}
