//! What a hostile peer sends, by `warren-interop attack`: every wrong connection ends or is answered in time, good requests
//! go on meanwhile, and the victim's memory stays bounded.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Registry;
use super::interop::{CONTROLLER, Peer, events, read, text};
use crate::world::{CLIENT_A, Ip, SERVER_B, World, port};

const LIMIT: Duration = Duration::from_secs(120);
/// Attacks that wait for a time limit of the victim; they run at the same time.
const SLOW: &[&str] = &[
    "silence",
    "handshake-stall",
    "handshake-dribble",
    "tls-silence",
    "preface-dribble",
    "preface-only",
    "headers-dribble",
];

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("hbone/slow", |w, ip| {
        hbone(w, ip, &[&["--parallel"], SLOW].concat())
    });
    add.both("hbone/fast", |w, ip| hbone(w, ip, &skip(SLOW)));
    // A connection that has spoken HTTP/2 stays as long as it answers PINGs, which these do not.
    add.one("controller/slow", |w| {
        controller(w, &[&["--parallel", "--connections", "300"], SLOW].concat())
    });
    add.one("controller/fast", |w| controller(w, &skip(SLOW)));
    for (node, component) in [("a", "agent"), ("b", "ztunnel"), ("a", "control")] {
        add.one(&format!("admin/{component}"), move |w| {
            local(
                w,
                "admin",
                &format!("{component}-admin.sock"),
                node,
                component,
            )
        });
    }
    add.one("cni", |w| local(w, "cni", "cni.sock", "a", "agent"));
    add.one("node", |w| local(w, "node", "agent.sock", "a", "agent"));
}

fn skip(names: &[&'static str]) -> Vec<&'static str> {
    names.iter().flat_map(|name| ["--skip", name]).collect()
}

fn hbone(world: &World, ip: Ip, more: &[&str]) -> Result<()> {
    let peer = Peer::new(world)?;
    let to = world.at(SERVER_B, ip, 15008)?.to_string();
    let authority = world.at(SERVER_B, ip, port::ECHO)?.to_string();
    let credentials = peer.credentials()?;
    let first = ["--kind", "hbone", "--to", &to, "--authority", &authority];
    let credentials: Vec<&str> = credentials.iter().map(String::as_str).collect();
    attack(
        world,
        "outside",
        &[&first[..], &credentials, more].concat(),
        "b",
        "ztunnel",
    )
}

fn controller(world: &World, more: &[&str]) -> Result<()> {
    let peer = Peer::new(world)?;
    let (host, root) = (
        CONTROLLER.rsplit_once(':').context("no port")?.0,
        peer.root(),
    );
    let first = [
        "--kind",
        "controller",
        "--to",
        CONTROLLER,
        "--host",
        host,
        "--root-cert",
        &root,
    ];
    attack(world, "a", &[&first[..], more].concat(), "a", "control")
}

fn local(world: &World, kind: &str, socket: &str, node: &str, component: &str) -> Result<()> {
    let path = text(
        &world
            .lab
            .dir()
            .join("nodes")
            .join(node)
            .join("run")
            .join(socket),
    );
    attack(
        world,
        node,
        &["--kind", kind, "--socket", &path, "--parallel"],
        node,
        component,
    )?;
    // The node socket takes one tunnel: whoever did not say who it is has not put ours out.
    let far = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    world.connect(CLIENT_A, &far, &[]).map(drop)
}

fn attack(world: &World, from: &str, options: &[&str], node: &str, component: &str) -> Result<()> {
    let peer = Peer::new(world)?;
    let pid = pid(world, node, component)?;
    let argv = [&["attack", "--pid", &pid, "--limit", "45"], options].concat();
    let mut running = peer.start(from, &argv)?;
    let status = running.wait(LIMIT)?;
    let said = running.rest();
    let lines = read(&said)?;
    let faults: Vec<String> = events(&lines, "attack")
        .iter()
        .filter(|line| line["ok"] != true)
        .map(|line| format!("{}: {}", line["name"], line["faults"]))
        .collect();
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    let ran = events(&lines, "done")
        .first()
        .and_then(|d| d["ran"].as_u64());
    ensure!(
        status.success() && ran > Some(0),
        "{status}, {ran:?} attacks: {said}"
    );
    let same = self::pid(world, node, component)?;
    ensure!(
        same == pid,
        "{component} on node {node} was {pid}, is {same}: it was started anew"
    );
    Ok(())
}

/// Process id of a component, from `lab ps`.
fn pid(world: &World, node: &str, component: &str) -> Result<String> {
    let table = world.lab.lab(&["ps"])?.ok()?;
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| row.starts_with(&[node, component]))
        .and_then(|row| row.get(3).map(|pid| (*pid).to_owned()))
        .with_context(|| format!("`lab ps` names no {component} on node {node}: {table}"))
}
