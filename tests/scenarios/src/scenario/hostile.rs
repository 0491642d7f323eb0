//! What a hostile peer sends, by `warren-interop attack`: every wrong connection ends or is answered in time, good requests
//! go on meanwhile, and the victim's memory stays bounded.

mod raw;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Registry;
use super::interop::{CONTROLLER, Peer, events, read, refs, text};
use crate::process::Running;
use crate::world::{CLIENT_A, FAMILIES, Ip, SERVER_B, World, port};

const LIMIT: Duration = Duration::from_secs(120);
/// Attacks that wait for a time limit of the victim; they run at the same time.
const STALLS: &[&str] = &[
    "silence",
    "handshake-stall",
    "handshake-dribble",
    "tls-silence",
    "preface-dribble",
];
/// More of them, whose connections have spoken HTTP/2: they last until a PING is not answered.
const PINGED: &[&str] = &["preface-only", "headers-dribble"];
const LISTS: [&[&str]; 2] = [STALLS, PINGED];

/// Connections of each slow attack: together fewer than one address may have in their handshakes, so that good requests
/// from the same address go on. `crowded` has more.
const FEW: &str = "30";

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("hbone/slow", |w| {
        let few = ["--parallel", "--connections", FEW];
        hbone(w, &[&few, &LISTS.concat()[..]].concat())
    });
    add.one("hbone/fast", |w| hbone(w, &fast()));
    add.one("controller/slow", |w| {
        controller(w, &[&["--parallel"], STALLS].concat())
    });
    add.one("controller/fast", |w| controller(w, &fast()));
    add.long(|add| {
        add.one("controller/pinged", |w| {
            controller(w, &[&["--parallel", "--limit", "70"], PINGED].concat())
        });
        add.one("admin/body", |w| admin(w, &["body-stall"]));
    });
    add.one("hbone/crowded", |w| crowded(w, "hbone"));
    add.one("controller/crowded", |w| crowded(w, "controller"));
    add.one("admin", |w| admin(w, &["--skip", "body-stall"]));
    add.one("cni", |w| local(w, "cni", "cni.sock"));
    add.one("node", |w| local(w, "node", "agent.sock"));
    raw::register(add);
}

/// All but the slow ones.
fn fast() -> Vec<&'static str> {
    LISTS
        .concat()
        .into_iter()
        .flat_map(|name| ["--skip", name])
        .collect()
}

/// Both families at the same time.
fn hbone(world: &World, more: &[&str]) -> Result<()> {
    let peer = Peer::new(world)?;
    let credentials = peer.credentials()?;
    let credentials: Vec<&str> = credentials.iter().map(String::as_str).collect();
    let victim = Victim::new(world, "b", "ztunnel")?;
    let mut attacks = Vec::new();
    for ip in FAMILIES {
        let to = world.at(SERVER_B, ip, 15008)?.to_string();
        let authority = world.at(SERVER_B, ip, port::ECHO)?.to_string();
        let first = ["--kind", "hbone", "--to", &to, "--authority", &authority];
        attacks.push(victim.attack(
            &peer,
            "outside",
            &[&first[..], &credentials, more].concat(),
        )?);
    }
    victim.judge(attacks)
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
    let victim = Victim::new(world, "a", "control")?;
    let attack = victim.attack(&peer, "a", &[&first[..], more].concat())?;
    victim.judge(vec![attack])
}

/// Hundreds of connections from one address that say nothing; those from others go on.
fn crowded(world: &World, kind: &str) -> Result<()> {
    let peer = Peer::new(world)?;
    let credentials = peer.credentials()?;
    let (at, authority) = (
        world.at(SERVER_B, Ip::V4, 15008)?.to_string(),
        world.at(SERVER_B, Ip::V4, port::ECHO)?,
    );
    let (to, victim) = match kind {
        "hbone" => (at.as_str(), Victim::new(world, "b", "ztunnel")?),
        _ => (CONTROLLER, Victim::new(world, "a", "control")?),
    };
    let options = [
        "--kind",
        kind,
        "--to",
        to,
        "--quiet",
        "--connections",
        "600",
        "silence",
    ];
    let mut attack = victim.attack(&peer, "outside", &options)?;
    let mut slowest = Duration::ZERO;
    while attack.is_running() {
        let begin = Instant::now();
        if kind == "hbone" {
            let first = [
                "connect",
                "--to",
                &at,
                "--authority",
                &authority.to_string(),
            ]
            .map(str::to_owned);
            peer.on_node("a", &refs(&[&first[..], &credentials].concat()))?;
        } else {
            peer.credentials()?;
        }
        slowest = slowest.max(begin.elapsed());
        std::thread::sleep(Duration::from_millis(300));
    }
    ensure!(
        slowest < Duration::from_secs(3),
        "a good request took {slowest:?} meanwhile"
    );
    victim.judge(vec![attack])
}

/// The admin sockets of all components at the same time.
fn admin(world: &World, more: &[&str]) -> Result<()> {
    let peer = Peer::new(world)?;
    let mut attacks = Vec::new();
    for (node, component) in [("a", "agent"), ("b", "ztunnel"), ("a", "control")] {
        let socket = socket(world, node, &format!("{component}-admin.sock"));
        // Beyond its number of connections the server lets others wait, good ones too.
        let first = [
            "--kind",
            "admin",
            "--socket",
            &socket,
            "--parallel",
            "--connections",
            "15",
        ];
        let victim = Victim::new(world, node, component)?;
        let attack = victim.attack(&peer, node, &[&first[..], more].concat())?;
        attacks.push((victim, attack));
    }
    attacks
        .into_iter()
        .try_for_each(|(victim, attack)| victim.judge(vec![attack]))
}

fn local(world: &World, kind: &str, name: &str) -> Result<()> {
    let peer = Peer::new(world)?;
    let socket = socket(world, "a", name);
    let victim = Victim::new(world, "a", "agent")?;
    let attack = victim.attack(
        &peer,
        "a",
        &["--kind", kind, "--socket", &socket, "--parallel"],
    )?;
    victim.judge(vec![attack])?;
    // The node socket takes one tunnel: whoever did not say who it is has not put ours out.
    let far = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    world.connect(CLIENT_A, &far, &[]).map(drop)
}

fn socket(world: &World, node: &str, name: &str) -> String {
    text(
        &world
            .lab
            .dir()
            .join("nodes")
            .join(node)
            .join("run")
            .join(name),
    )
}

/// A process under attack.
struct Victim<'w> {
    world: &'w World,
    node: &'static str,
    component: &'static str,
    pid: String,
}

impl<'w> Victim<'w> {
    fn new(world: &'w World, node: &'static str, component: &'static str) -> Result<Self> {
        let pid = pid(world, node, component)?;
        Ok(Self {
            world,
            node,
            component,
            pid,
        })
    }

    fn attack(&self, peer: &Peer<'_>, from: &str, options: &[&str]) -> Result<Running> {
        let mut argv = vec!["attack", "--pid", &self.pid];
        if !options.contains(&"--limit") {
            argv.extend(["--limit", "45"]);
        }
        argv.extend(options);
        peer.start(from, &argv)
    }

    fn judge(self, attacks: Vec<Running>) -> Result<()> {
        for mut running in attacks {
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
        }
        let (node, component, old) = (self.node, self.component, self.pid);
        let new = pid(self.world, node, component)?;
        ensure!(
            new == old,
            "{component} on node {node} was {old}, is {new}: it was started anew"
        );
        Ok(())
    }
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
