//! A pod with CAP_NET_RAW writes its packets by hand, past every hook on sockets: a STRICT application never sees the connection.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::lab::Pod;
use crate::peer::Connection;
use crate::scenario::Registry;
use crate::scenario::protocols::{PYTHON, program};
use crate::world::{
    CLIENT_A, CLIENT_B, Ip, OTHER_B, PLAIN_A, PLAIN_B, SERVER_A, SERVER_B, World, eventually, need,
    parse, port,
};

const STRICT: &str = "policies/strict.yaml";
/// Below the ports that a kernel chooses by itself.
const SOURCE_PORT: u16 = 21_700;
const TEXT: &str = "by-hand";

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("raw/without-a-mesh-it-works", works_elsewhere);
    add.both("raw/same-node", |w, ip| {
        refused(w, CLIENT_B, CLIENT_B, SERVER_B, ip)
    });
    add.both("raw/other-node", |w, ip| {
        refused(w, CLIENT_B, CLIENT_B, SERVER_A, ip)
    });
    add.both("raw/from-outside-the-mesh", |w, ip| {
        refused(w, PLAIN_A, PLAIN_A, SERVER_A, ip)
    });
    add.both("raw/in-the-name-of-another-pod", |w, ip| {
        refused(w, CLIENT_B, OTHER_B, SERVER_B, ip)
    });
    add.both("raw/in-the-name-of-a-pod-elsewhere", |w, ip| {
        refused(w, CLIENT_B, CLIENT_A, SERVER_B, ip)
    });
    add.both("raw/in-its-own-name", |w, ip| {
        refused(w, CLIENT_B, SERVER_B, SERVER_B, ip)
    });
}

/// What `raw.py` saw.
#[derive(Debug, Deserialize)]
struct Seen {
    /// The SYN was answered.
    answered: bool,
    /// What the application sent.
    data: String,
}

/// The check itself can fail: an application outside the mesh answers the very same packets.
fn works_elsewhere(world: &World, ip: Ip) -> Result<()> {
    let (seen, known) = attempt(world, CLIENT_B, CLIENT_B, PLAIN_B, ip)?;
    ensure!(
        seen.answered && seen.data.ends_with(TEXT),
        "an application outside the mesh did not answer: {seen:?}"
    );
    ensure!(known > 0, "{PLAIN_B} does not remember the connection");
    Ok(())
}

/// From `from`, in the name of `name`, to an application under STRICT.
fn refused(world: &World, from: Pod, name: Pod, to: Pod, ip: Ip) -> Result<()> {
    let _strict = world.apply(STRICT)?;
    let at = world.at(to, ip, port::ECHO)?.to_string();
    eventually(Duration::from_secs(5), || {
        let plain = world.try_connect(PLAIN_A, &at, &["--timeout-ms", "3000"])?;
        ensure!(!plain.ok, "the policy {STRICT} has no effect");
        Ok(())
    })?;
    let (seen, known) = attempt(world, from, name, to, ip)?;
    ensure!(
        seen.data.is_empty() && known == 0,
        "the application at {to} answered packets made by hand: {seen:?}, and remembers {known} connections"
    );
    // Nothing is left behind that would keep honest connections out.
    world.connect(CLIENT_B, &at, &[]).map(drop)
}

/// What came back, and how many such connections the application remembers.
fn attempt(world: &World, from: Pod, name: Pod, to: Pod, ip: Ip) -> Result<(Seen, usize)> {
    need(&["nft"])?;
    let source = world.ip(name, ip)?;
    let before = remembered(world, to, source)?;
    let argv = [
        PYTHON,
        &program("raw.py"),
        &source.to_string(),
        &SOURCE_PORT.to_string(),
        &world.ip(to, ip)?.to_string(),
        &port::ECHO.to_string(),
        TEXT,
    ];
    let said = world.lab.exec(from, &argv)?.ok()?;
    let seen = parse(&said).with_context(|| format!("raw.py said {said}"))?;
    let after = remembered(world, to, source)?;
    Ok((seen, after.saturating_sub(before)))
}

/// Connections from the hand-made address that the application at `pod` has had.
fn remembered(world: &World, pod: Pod, source: std::net::IpAddr) -> Result<usize> {
    let command = format!("nc -N 127.0.0.1 {} < /dev/null", port::REPORT);
    let text = world.lab.exec(pod, &["sh", "-c", &command])?.ok()?;
    let all: Vec<Connection> = parse(&text)?;
    let ours = |c: &&Connection| {
        let at = c.seen.accept;
        at.ip().to_canonical() == source && at.port() == SOURCE_PORT
    };
    Ok(all.iter().filter(ours).count())
}
