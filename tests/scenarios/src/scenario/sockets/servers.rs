//! Servers with peculiar listening sockets are reached, and see true addresses.

use anyhow::Result;

use super::{device, true_addresses_at};
use crate::scenario::Registry;
use crate::world::{CLIENT_A, CLIENT_B, Ip, PLAIN_A, SERVER_A, SERVER_B, World};

/// Where they listen.
const PORT: u16 = 8190;

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("server/multipath-tcp", |w, ip| {
        reached(w, ip, &["--mptcp"], &["--mptcp"])
    });
    add.both("server/multipath-tcp-for-plain-clients", |w, ip| {
        reached(w, ip, &["--mptcp"], &[])
    });
    add.both("server/fast-open", |w, ip| reached(w, ip, &["--tfo"], &[]));
    add.both("server/of-one-family", |w, ip| {
        reached(w, ip, &["--family", ip.digit()], &[])
    });
    add.both("server/bound-to-device", |w, ip| {
        reached(w, ip, &["--device", &device(w, SERVER_B)?], &[])
    });
}

/// From the same node (captured, then perhaps direct), from the other one, and from outside the mesh.
fn reached(world: &World, ip: Ip, server: &[&str], client: &[&str]) -> Result<()> {
    let listen = format!("greet={PORT}");
    let argv = [&["serve", listen.as_str()][..], server].concat();
    let _near = world.start_peer(SERVER_A, &argv, true)?;
    let _far = world.start_peer(SERVER_B, &argv, true)?;
    for (from, to) in [
        (CLIENT_A, SERVER_A),
        (CLIENT_A, SERVER_A),
        (CLIENT_A, SERVER_B),
        (CLIENT_B, SERVER_B),
        (PLAIN_A, SERVER_B),
    ] {
        true_addresses_at(world, from, to, PORT, ip, client)?;
    }
    Ok(())
}
