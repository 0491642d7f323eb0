//! A Service's backend on another node is the kernel's choice, and the tunnel goes exactly there.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::Registry;
use super::super::interception::pinned;
use super::{SOON, fill, spread};
use crate::lab::Pod;
use crate::process::{LIMIT, run};
use crate::world::{CLIENT_A, Ip, World, eventually, manifests, need};

const FAR: [Pod; 3] = [
    Pod::new("shop", "far-0-b"),
    Pod::new("shop", "far-1-b"),
    Pod::new("shop", "far-2-b"),
];
/// As many that three pods of one weight each get a third, give or take a tenth of all: four times the standard deviation.
const CONNECTIONS: u32 = 400;

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("the-tunnel-goes-where-the-kernel-chose", |w, ip| {
        with_far_pods(w, |w| exactly(w, ip))
    });
    add.both("choices-are-spread-evenly", |w, ip| {
        with_far_pods(w, |w| evenly(w, ip))
    });
}

fn with_far_pods(world: &World, check: impl Fn(&World) -> Result<()>) -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let manifest = dir.path().join("far.yaml");
    fill(
        &manifests().join("services/far.yaml"),
        &manifest,
        &[("{{PEER}}", &world.lab.program("warren-peer"))],
    )?;
    let result = world.lab.apply(&manifest)?.ok().and_then(|_| {
        eventually(SOON, || {
            let servers = spread(world, CLIENT_A, "far", Ip::V4)?.servers;
            ensure!(
                servers.len() == FAR.len(),
                "only {servers:?} are known so far"
            );
            Ok(())
        })?;
        check(world)
    });
    world.lab.delete(&manifest)?.ok()?;
    result
}

fn exactly(world: &World, ip: Ip) -> Result<()> {
    need(&["bpftool"])?;
    let name = "far.shop.svc.cluster.local:80";
    let argv = ["stream", name, "--seconds", "20", "--family", ip.digit()];
    for _ in 0..10 {
        let (held, ready) = world.ready_peer(CLIENT_A, &argv)?;
        let client = ready.local.context("the client did not tell its address")?;
        let chosen = chosen_for(client)?;
        // A server writes a connection down when it ends.
        drop(held);
        let server = eventually(SOON, || server_of(world, client))?;
        let (_, addresses): (_, Vec<IpAddr>) = world.peer(server, &["addrs"])?;
        let of_family = |a: &&IpAddr| a.is_ipv4() == client.is_ipv4();
        let own = addresses.iter().find(of_family);
        let expected = SocketAddr::new(*own.context("no address")?, 8080);
        ensure!(
            chosen == expected,
            "the kernel chose {chosen} for {client}, the tunnel went to {server} at {expected}"
        );
    }
    Ok(())
}

/// What the kernel wrote down for a connection that it gave to the tunnel.
fn chosen_for(client: SocketAddr) -> Result<SocketAddr> {
    let mut command = Command::new("bpftool");
    command
        .args(["-j", "map", "dump", "pinned"])
        .arg(pinned("conns"));
    let dump: Value = serde_json::from_str(&run(command, LIMIT)?.ok()?)?;
    let entries = dump.as_array().context("bpftool printed no array")?;
    for entry in entries {
        let (key, value) = (&entry["formatted"]["key"], &entry["formatted"]["value"]);
        let of = SocketAddr::new(address(&key["client"])?, number(&key["client_port"])?);
        if of == client {
            return Ok(SocketAddr::new(
                address(&value["backend"])?,
                number(&value["backend_port"])?,
            ));
        }
    }
    anyhow::bail!("no entry for {client} among {}", entries.len())
}

fn number(value: &Value) -> Result<u16> {
    let number = value.as_u64().context("no number")?;
    u16::try_from(number).context("no port")
}

/// Four words as they lie in memory.
fn address(value: &Value) -> Result<IpAddr> {
    let words = value["words"].as_array().context("no address")?;
    let mut bytes = [0; 16];
    for (word, place) in words.iter().zip(bytes.chunks_exact_mut(4)) {
        let word = u32::try_from(word.as_u64().context("no word")?)?;
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Ok(Ipv6Addr::from(bytes).to_canonical())
}

/// The pod whose application has the connection: it sees, and writes down, the client's true address.
fn server_of(world: &World, client: SocketAddr) -> Result<Pod> {
    // The server's socket is of both families, and shows a mapped address.
    let shown = format!("{}]:{}", client.ip(), client.port());
    for pod in FAR {
        let lines = world.lab.lab(&["logs", "-n", pod.namespace, pod.name])?;
        if lines.ok()?.contains(&shown) {
            return Ok(pod);
        }
    }
    anyhow::bail!("no far pod has a connection of {client}")
}

fn evenly(world: &World, ip: Ip) -> Result<()> {
    let name = "far.shop.svc.cluster.local:8081";
    let count = CONNECTIONS.to_string();
    let argv = ["spread", name, "--count", &count, "--family", ip.digit()];
    let (done, report): (_, crate::peer::SpreadReport) = world.peer(CLIENT_A, &argv)?;
    ensure!(report.ok, "{name}: {done}");
    let third = f64::from(CONNECTIONS) / 3.0;
    let even = |n: &u64| (*n as f64 - third).abs() < f64::from(CONNECTIONS) / 10.0;
    ensure!(
        report.servers.len() == FAR.len() && report.servers.values().all(even),
        "{CONNECTIONS} connections went to {:?}",
        report.servers
    );
    Ok(())
}
