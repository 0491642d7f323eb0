//! Connections are taken hold of by the kernel programs alone.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Registry, Suite};
use crate::lab::Pod;
use crate::peer::SpreadReport;
use crate::process::{LIMIT, run};
use crate::world::{CLIENT_A, CLIENT_B, Ip, SERVER_A, SERVER_B, World, eventually, need, port};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("no-rules-in-pods", no_rules_in_pods);
    add.one("map-dumps-have-named-fields", named_fields);
    add.both("service-spreads-over-endpoints", spreads);
    add.both("second-connection-is-direct", direct);
    add.both("cross-node-is-never-direct", tunnelled);
    add.in_suite(Suite::NoKubeProxy, |add| {
        add.one("no-kube-proxy/no-rules-anywhere", no_rules_anywhere);
        add.both("no-kube-proxy/service-spreads-over-endpoints", spreads);
        add.both("no-kube-proxy/named-target-port", service_by_name);
    });
}

/// What prints rules.
const RULESETS: [&[&str]; 3] = [
    &["nft", "list", "ruleset"],
    &["iptables-save"],
    &["ip6tables-save"],
];

fn rules(text: &str) -> Vec<&str> {
    let said = |l: &&str| !l.is_empty() && !l.starts_with('#') && !l.starts_with(':');
    text.lines()
        .map(str::trim)
        .filter(said)
        .filter(|l| !l.starts_with('*') && *l != "COMMIT")
        .collect()
}

fn no_rules_in_pods(world: &World) -> Result<()> {
    need(&["nft", "iptables-save"])?;
    for pod in [CLIENT_A, SERVER_A, SERVER_B] {
        for command in RULESETS {
            let text = world.lab.exec(pod, command)?.ok()?;
            ensure!(
                rules(&text).is_empty(),
                "{pod}: `{}` prints {:?}",
                command.join(" "),
                rules(&text)
            );
        }
    }
    for node in ["a", "b"] {
        let text = world.lab.node(node, &["nft", "list", "ruleset"])?.ok()?;
        for ours in ["15001", "15006", "15008", "warren"] {
            let found = rules(&text)
                .into_iter()
                .find(|l| l.contains(ours) && !l.contains("warren-lab"));
            ensure!(found.is_none(), "node {node}: the ruleset has {found:?}");
        }
    }
    Ok(())
}

fn no_rules_anywhere(world: &World) -> Result<()> {
    no_rules_in_pods(world)?;
    for node in ["a", "b"] {
        for command in RULESETS {
            let text = world.lab.node(node, command)?.ok()?;
            ensure!(
                rules(&text).is_empty(),
                "node {node}: `{}` prints {:?}",
                command.join(" "),
                rules(&text)
            );
        }
    }
    Ok(())
}

/// A field of each map's key and one of its value, where they are structures.
const FIELDS: [(&str, Option<&str>, Option<&str>); 9] = [
    ("backends", Some("index"), Some("port")),
    ("config", None, Some("generation")),
    ("conns", Some("netns"), Some("backend_port")),
    ("direct_conns", None, Some("start_ns")),
    ("local_workloads", Some("words"), Some("flags")),
    ("pods", None, Some("flags")),
    ("probe_ports", Some("port"), None),
    ("services", Some("port"), Some("flags")),
    ("verdicts", Some("source"), Some("verdict")),
];

/// Maps whose entries are gone before they are seen (a handshake is soon over, storage of sockets cannot be walked), and a field of their
/// types.
const PASSING: [(&str, &str); 2] = [("flows", "client_port"), ("intents", "generation")];

/// Maps without structures: the kernel takes no types for sockets and ring buffers, and counters are numbers.
const PLAIN: [&str; 3] = ["counters", "events", "listeners"];

/// `bpftool` knows the maps' types and prints each entry with the names of its fields.
fn named_fields(world: &World) -> Result<()> {
    need(&["bpftool"])?;
    eventually(Duration::from_secs(5), || {
        ensure!(
            is_direct(world, CLIENT_A, SERVER_A, Ip::V4)?,
            "no direct flow"
        );
        Ok(())
    })?;
    let mut held = Vec::new();
    for to in [SERVER_A, SERVER_B] {
        let at = world.at(to, Ip::V4, port::ECHO)?.to_string();
        held.push(world.start_peer(CLIENT_A, &["stream", &at, "--seconds", "20"], true)?);
    }
    for (map, key, value) in FIELDS {
        let dump = bpftool(&["map", "dump", "pinned"], map)?;
        let entries = dump.as_array().context("bpftool printed no array")?;
        let entry = entries
            .first()
            .with_context(|| format!("map {map} is empty"))?;
        for (part, field) in [("key", key), ("value", value)] {
            ensure!(
                field.is_none_or(|f| entry["formatted"][part].get(f).is_some()),
                "a {part} of {map} has no field {field:?}: {entry}"
            );
        }
    }
    for (map, field) in PASSING {
        let types = bpftool(&["btf", "dump", "map", "pinned"], map)?.to_string();
        ensure!(
            types.contains(&format!("\"name\":\"{field}\"")),
            "the types of {map} have no field {field}: {types}"
        );
    }
    every_map_is_known()
}

/// A new map is looked at as well.
fn every_map_is_known() -> Result<()> {
    let known = FIELDS.map(|(map, ..)| map).into_iter();
    let known: BTreeSet<String> = known
        .chain(PASSING.map(|(map, _)| map))
        .chain(PLAIN)
        .map(str::to_owned)
        .collect();
    let pinned = std::fs::read_dir(pinned("")).context("cannot read the directory of pins")?;
    let pinned: BTreeSet<String> = pinned
        .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(
        pinned == known,
        "pinned are {pinned:?}, looked at were {known:?}"
    );
    Ok(())
}

/// What `bpftool` says of a map that the agent of node a pinned.
fn bpftool(words: &[&str], map: &str) -> Result<Value> {
    let mut command = std::process::Command::new("bpftool");
    command.arg("-j").args(words).arg(pinned(map));
    if words[0] == "btf" {
        command.arg("kv");
    }
    let text = run(command, LIMIT)?.ok()?;
    serde_json::from_str(&text).with_context(|| format!("what bpftool says of {map}"))
}

/// A map that the agent of node a pinned.
pub fn pinned(map: &str) -> std::path::PathBuf {
    std::path::Path::new("/sys/fs/bpf/warren/a/maps").join(map)
}

fn spreads(world: &World, ip: Ip) -> Result<()> {
    let name = format!("web.shop.svc.cluster.local:{}", port::GREET);
    let argv = ["spread", &name, "--count", "200", "--family", ip.digit()];
    let (done, report): (_, SpreadReport) = world.peer(CLIENT_A, &argv)?;
    ensure!(report.ok, "{name}: {done}");
    for pod in [SERVER_A, SERVER_B] {
        let own = world.ip(pod, ip)?;
        let count: u64 = report
            .servers
            .iter()
            .filter(|(a, _)| a.to_canonical() == own)
            .map(|(_, n)| *n)
            .sum();
        // Fewer than 60 of 200 fair choices have a probability below one in a hundred million.
        ensure!(
            count >= 60,
            "{pod} got {count} of 200 connections: {:?}",
            report.servers
        );
    }
    Ok(())
}

fn service_by_name(world: &World, ip: Ip) -> Result<()> {
    for service in ["web-a", "web-b"] {
        world.greet(
            CLIENT_A,
            &format!("{service}.shop.svc.cluster.local:80"),
            ip,
        )?;
    }
    Ok(())
}

fn direct(world: &World, ip: Ip) -> Result<()> {
    for (from, to) in [(CLIENT_A, SERVER_A), (CLIENT_B, SERVER_B)] {
        eventually(Duration::from_secs(5), || {
            ensure!(
                is_direct(world, from, to, ip)?,
                "{from} to {to} still goes through the tunnel"
            );
            Ok(())
        })?;
        for _ in 0..5 {
            ensure!(
                is_direct(world, from, to, ip)?,
                "{from} to {to} was direct, then not any more"
            );
        }
    }
    Ok(())
}

fn tunnelled(world: &World, ip: Ip) -> Result<()> {
    for _ in 0..3 {
        ensure!(
            !is_direct(world, CLIENT_A, SERVER_B, ip)?,
            "a connection to another node is direct"
        );
    }
    Ok(())
}

/// Whether a new connection's socket is connected to the peer itself; `ss` reads that from the kernel, past the hooks of getpeername().
pub fn is_direct(world: &World, from: Pod, to: Pod, ip: Ip) -> Result<bool> {
    let at = world.at(to, ip, port::ECHO)?.to_string();
    let (held, ready) = world.ready_peer(from, &["stream", &at, "--seconds", "20"])?;
    let sockets = world
        .lab
        .exec(from, &["ss", "-tnH", "state", "established"])?
        .ok()?;
    drop(held);
    let own = ready
        .local
        .context("the client did not tell its address")?
        .to_string();
    let of = |line: &'_ str, column| {
        line.split_whitespace()
            .nth(column)
            .unwrap_or_default()
            .to_owned()
    };
    let mut peers = sockets
        .lines()
        .filter(|l| of(l, 2) == own)
        .map(|l| of(l, 3));
    let peer = peers.next().with_context(|| {
        format!("{from} holds a connection from {own}, `ss` shows none: {sockets}")
    })?;
    ensure!(
        peer == at || peer.ends_with(":15001"),
        "{from} to {at}: the socket is connected to {peer}"
    );
    Ok(peer == at)
}
