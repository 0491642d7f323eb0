//! Objects that contradict each other: the result is the stated one, `warren status` says so where something has no effect, and nothing
//! else is disturbed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Registry;
use super::policy::{Cell, check_open, hold, may_connect};
use crate::lab::Pod;
use crate::world::{
    CLIENT_A, FAMILIES, Ip, OTHER_A, OTHER_B, PLAIN_A, SERVER_A, SERVER_B, World, eventually, port,
};

/// How long a change may take to reach new connections everywhere.
const SOON: Duration = Duration::from_secs(5);
/// Objects are as old as whole seconds tell.
const OLDER: Duration = Duration::from_millis(1100);

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("strict-then-permissive-of-one-scope", |w| {
        peers(w, ["strict", "permissive"])
    });
    add.one("permissive-then-strict-of-one-scope", |w| {
        peers(w, ["permissive", "strict"])
    });
    add.one("allow-and-deny-of-one-peer", allow_and_deny);
    add.one("two-pods-of-one-address", one_address);
}

/// The older one holds.
fn peers(world: &World, [older, newer]: [&str; 2]) -> Result<()> {
    let first = world.apply(&format!("policies/{older}.yaml"))?;
    std::thread::sleep(OLDER);
    let second = world.apply(&format!("policies/{newer}.yaml"))?;
    let said = format!("PeerAuthentication {older} covers the same scope");
    eventually(SOON, || says(world, &said, true))?;
    let cells = cells(&[
        (PLAIN_A, older == "permissive"),
        (CLIENT_A, true),
        (OTHER_A, true),
    ]);
    eventually(SOON, || hold(world, &cells))?;
    undisturbed(world)?;
    drop(first);
    // The other one has its way as soon as nothing contradicts it.
    let cells = self::cells(&[(PLAIN_A, newer == "permissive"), (CLIENT_A, true)]);
    eventually(SOON, || hold(world, &cells))?;
    eventually(SOON, || says(world, &said, false))?;
    drop(second);
    check_open(world)
}

/// DENY goes before ALLOW, and an ALLOW that is there denies all others. Neither is without effect, so nothing is said.
fn allow_and_deny(world: &World) -> Result<()> {
    let allow = world.apply("policies/allow-client.yaml")?;
    let deny = world.apply("policies/deny-client.yaml")?;
    let nobody = cells(&[(CLIENT_A, false), (OTHER_A, false), (PLAIN_A, false)]);
    eventually(SOON, || hold(world, &nobody))?;
    for name in ["allow-client", "deny-client"] {
        says(world, name, false)?;
    }
    undisturbed(world)?;
    drop(deny);
    let one = cells(&[(CLIENT_A, true), (OTHER_A, false), (PLAIN_A, false)]);
    eventually(SOON, || hold(world, &one))?;
    drop(allow);
    check_open(world)
}

/// A pod of a node that crashed is still there when its address has been given to another one.
fn one_address(world: &World) -> Result<()> {
    let addresses = FAMILIES
        .iter()
        .map(|ip| Ok(world.ip(SERVER_B, *ip)?.to_string()))
        .collect::<Result<Vec<_>>>()?;
    let ghost = Ghost::of(world, &addresses)?;
    eventually(SOON, || {
        for address in &addresses {
            let said = format!("address {address} is also that of pod");
            says(world, &said, true)?;
        }
        Ok(())
    })?;
    // The one that is ready holds the address, policy by its true identity included.
    let deny = world.apply("policies/deny-other.yaml")?;
    let told = cells(&[(CLIENT_A, true), (OTHER_A, false)]);
    eventually(SOON, || hold(world, &told))?;
    drop(deny);
    undisturbed(world)?;
    drop(ghost);
    eventually(SOON, || says(world, "is also that of pod", false))?;
    check_open(world)
}

/// A pod in the controller's folder of which the lab knows nothing; it goes when dropped.
struct Ghost(PathBuf);

impl Ghost {
    fn of(world: &World, addresses: &[String]) -> Result<Self> {
        let ips: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "ghost", "namespace": "shop", "uid": "ghost", "labels": {"app": "ghost"}},
            "spec": {"nodeName": "crashed", "serviceAccountName": "ghost", "containers": [{"name": "c", "image": "host"}]},
            "status": {"phase": "Running", "podIP": addresses.first(), "podIPs": ips,
                "conditions": [{"type": "Ready", "status": "False"}]}});
        let file = world.lab.dir().join("api/ghost.yaml");
        std::fs::write(&file, pod.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self(file))
    }
}

impl Drop for Ghost {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("the ghost stays: {error}");
        }
    }
}

fn cells(clients: &[(Pod, bool)]) -> Vec<Cell> {
    let servers = |(from, allowed): &(Pod, bool)| {
        let (from, allowed) = (*from, *allowed);
        [SERVER_A, SERVER_B].map(|to| Cell {
            from,
            to,
            port: port::GREET,
            allowed,
        })
    };
    clients.iter().flat_map(servers).collect()
}

fn says(world: &World, words: &str, expected: bool) -> Result<()> {
    let shown = world.lab.warren(&["status"])?.ok()?;
    ensure!(
        shown.contains(words) == expected,
        "`warren status`: expected {words:?}: {expected}: {shown}"
    );
    Ok(())
}

/// Another namespace.
fn undisturbed(world: &World) -> Result<()> {
    ensure!(
        may_connect(world, OTHER_A, OTHER_B, Ip::V4, port::GREET)?,
        "{OTHER_A} does not reach {OTHER_B}"
    );
    Ok(())
}
