//! What an enforcer of NetworkPolicies sees of pods in the mesh, as docs/network-policies.md says it. Rules in the node's forward hook play the
//! enforcer: every packet between a pod's link and anywhere else passes there.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Registry;
use super::policy::may_connect;
use crate::lab::Pod;
use crate::world::{
    CLIENT_A, FAMILIES, Ip, OTHER_A, PLAIN_A, PLAIN_B, SERVER_A, SERVER_B, World, eventually, port,
    told,
};

/// How long it may take until everything is as before.
const SOON: Duration = Duration::from_secs(15);
const TABLE: &str = "lab-network-policy";

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("ingress/the-applications-port-alone", |w| {
        let _policy = Enforced::on(w, SERVER_B, Direction::In, &[accept(port::GREET)])?;
        reached(w, PLAIN_A, SERVER_B, port::GREET, true)?;
        reached(w, CLIENT_A, SERVER_B, port::GREET, false)
    });
    add.one("ingress/the-meshs-port-alone", |w| {
        let _policy = Enforced::on(w, SERVER_B, Direction::In, &[accept(15008)])?;
        reached(w, CLIENT_A, SERVER_B, port::GREET, true)?;
        reached(w, PLAIN_A, SERVER_B, port::GREET, false)
    });
    add.one("ingress/peers-are-told-apart", peers);
    add.one("ingress/ports-are-for-the-meshs-own-policies", ports);
    add.one("ingress/both-ports-on-one-node", |w| {
        let rules = [accept(port::GREET), accept(15008)];
        let _policy = Enforced::on(w, SERVER_A, Direction::In, &rules)?;
        for _ in 0..4 {
            reached(w, CLIENT_A, SERVER_A, port::GREET, true)?;
            reached(w, OTHER_A, SERVER_A, port::GREET, true)?;
        }
        reached(w, PLAIN_A, SERVER_A, port::GREET, true)
    });
    add.one("egress", egress);
}

/// Which packets of a pod are judged.
#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

/// Rules at a pod's link until it is dropped; all else towards (or from) the pod falls.
struct Enforced<'a> {
    world: &'a World,
    node: &'static str,
}

impl<'a> Enforced<'a> {
    fn on(world: &'a World, pod: Pod, direction: Direction, rules: &[String]) -> Result<Self> {
        let side = match direction {
            Direction::In => "daddr",
            Direction::Out => "saddr",
        };
        let (v4, v6) = (world.ip(pod, Ip::V4)?, world.ip(pod, Ip::V6)?);
        let rules = rules.join("\n");
        let text = format!(
            "table inet {TABLE} {{\n chain pod {{\n{rules}\ndrop\n }}\n chain forward {{\n\
             type filter hook forward priority 0; policy accept;\n\
             ip {side} {v4} goto pod\n ip6 {side} {v6} goto pod\n }}\n}}\n"
        );
        let node = pod.node();
        world
            .lab
            .node(node, &["sh", "-c", "printf %s \"$0\" | nft -f -", &text])?
            .ok()?;
        Ok(Self { world, node })
    }
}

impl Drop for Enforced<'_> {
    fn drop(&mut self) {
        let argv = ["nft", "delete", "table", "inet", TABLE];
        let gone = self.world.lab.node(self.node, &argv).and_then(|d| d.ok());
        let open = || {
            for ip in FAMILIES {
                for to in [SERVER_A, SERVER_B] {
                    ensure!(may_connect(self.world, CLIENT_A, to, ip, port::GREET)?);
                }
            }
            Ok(())
        };
        // The next scenario begins without it.
        if let Err(error) = gone.and_then(|_| eventually(SOON, open)) {
            eprintln!(
                "the rules on node {} have an effect still: {error:#}",
                self.node
            );
        }
    }
}

fn accept(port: u16) -> String {
    format!("tcp dport {port} accept")
}

fn accept_from(world: &World, pod: Pod, port: u16) -> Result<[String; 2]> {
    let (v4, v6) = (world.ip(pod, Ip::V4)?, world.ip(pod, Ip::V6)?);
    Ok([
        format!("ip saddr {v4} tcp dport {port} accept"),
        format!("ip6 saddr {v6} tcp dport {port} accept"),
    ])
}

fn accept_to(world: &World, pod: Pod, port: u16) -> Result<[String; 2]> {
    let (v4, v6) = (world.ip(pod, Ip::V4)?, world.ip(pod, Ip::V6)?);
    Ok([
        format!("ip daddr {v4} tcp dport {port} accept"),
        format!("ip6 daddr {v6} tcp dport {port} accept"),
    ])
}

/// The source address on port 15008 is the client pod's own.
fn peers(world: &World) -> Result<()> {
    let rules = accept_from(world, CLIENT_A, 15008)?;
    let _policy = Enforced::on(world, SERVER_B, Direction::In, &rules)?;
    reached(world, CLIENT_A, SERVER_B, port::GREET, true)?;
    reached(world, OTHER_A, SERVER_B, port::GREET, false)
}

/// Behind port 15008 all ports are alike; an AuthorizationPolicy tells them apart.
fn ports(world: &World) -> Result<()> {
    let _policy = Enforced::on(world, SERVER_B, Direction::In, &[accept(15008)])?;
    reached(world, CLIENT_A, SERVER_B, port::ECHO, true)?;
    reached(world, CLIENT_A, SERVER_B, port::GREET, true)?;
    let _deny = world.apply("policies/deny-echo-port.yaml")?;
    eventually(SOON, || {
        reached(world, CLIENT_A, SERVER_B, port::ECHO, false)
    })?;
    reached(world, CLIENT_A, SERVER_B, port::GREET, true)
}

/// Towards the mesh port 15008; towards others the port that the application asked for.
fn egress(world: &World) -> Result<()> {
    let mut rules: Vec<String> = accept_to(world, SERVER_B, 15008)?.into();
    let policy = Enforced::on(world, CLIENT_A, Direction::Out, &rules)?;
    reached(world, CLIENT_A, SERVER_B, port::GREET, true)?;
    reached(world, CLIENT_A, PLAIN_B, port::GREET, false)?;
    drop(policy);
    rules.extend(accept_to(world, PLAIN_B, port::GREET)?);
    let _policy = Enforced::on(world, CLIENT_A, Direction::Out, &rules)?;
    reached(world, CLIENT_A, PLAIN_B, port::GREET, true)?;
    reached(world, CLIENT_A, PLAIN_B, port::ECHO, false)
}

fn reached(world: &World, from: Pod, to: Pod, number: u16, expected: bool) -> Result<()> {
    let mode = if number == port::GREET {
        "greet"
    } else {
        "echo"
    };
    for ip in FAMILIES {
        let at = world.at(to, ip, number)?.to_string();
        let options = ["--mode", mode, "--bytes", "1", "--timeout-ms", "1500"];
        let outcome = world.try_connect(from, &at, &options)?;
        ensure!(
            outcome.ok == expected,
            "{from} to {to} port {number} over {ip}: expected {expected}: {}",
            told(&outcome)
        );
    }
    Ok(())
}
