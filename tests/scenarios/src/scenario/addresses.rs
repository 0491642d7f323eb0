//! Both ends see the addresses that they would see without a mesh.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};

use super::Registry;
use crate::lab::Pod;
use crate::peer::{Greeting, Outcome};
use crate::world::{
    CLIENT_A, Ip, OTHER_A, OTHER_B, PLAIN_A, PLAIN_B, SERVER_A, SERVER_B, World, parse, port,
};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.anywhere(|add| {
        add.both("same-node-pod-ip", |w, ip| {
            by_pod_ip(w, CLIENT_A, SERVER_A, ip)
        });
        add.both("cross-node-pod-ip", |w, ip| {
            by_pod_ip(w, CLIENT_A, SERVER_B, ip)
        });
        add.both("cross-namespace-pod-ip", |w, ip| {
            by_pod_ip(w, OTHER_A, SERVER_B, ip)
        });
        add.both("same-node-service", |w, ip| {
            by_service(w, CLIENT_A, "web-a.shop", SERVER_A, ip)
        });
        add.both("cross-node-service", |w, ip| {
            by_service(w, CLIENT_A, "web-b.shop", SERVER_B, ip)
        });
        add.both("cross-namespace-service", |w, ip| {
            by_service(w, CLIENT_A, "web.other", OTHER_B, ip)
        });
        add.both("plaintext-from-another-pod", |w, ip| {
            by_pod_ip(w, PLAIN_A, SERVER_B, ip)
        });
        add.both("plaintext-from-same-node", |w, ip| {
            by_pod_ip(w, PLAIN_A, SERVER_A, ip)
        });
        add.both("service-from-outside-the-mesh", |w, ip| {
            by_service(w, PLAIN_A, "web-b.shop", SERVER_B, ip)
        });
        add.both("plaintext-to-another-pod", |w, ip| {
            by_pod_ip(w, CLIENT_A, PLAIN_B, ip)
        });
        add.both("own-service", |w, ip| {
            by_service(w, SERVER_A, "web-a.shop", SERVER_A, ip)
        });
    });
    add.both("plaintext-from-outside", from_outside);
}

fn by_pod_ip(world: &World, from: Pod, to: Pod, ip: Ip) -> Result<()> {
    let at = world.at(to, ip, port::GREET)?;
    // Twice: the second one may take another path (a cached verdict).
    for _ in 0..2 {
        let outcome = world.greet(from, &at.to_string(), ip)?;
        client_sees(&outcome, at, world.ip(from, ip)?)?;
        server_sees(greeting(&outcome)?, local(&outcome)?, at)?;
    }
    Ok(())
}

fn by_service(world: &World, from: Pod, service: &str, to: Pod, ip: Ip) -> Result<()> {
    let name = format!("{service}.svc.cluster.local:{}", port::GREET);
    let behind = world.at(to, ip, port::GREET)?;
    for _ in 0..2 {
        let outcome = world.greet(from, &name, ip)?;
        let asked = outcome.asked.context("no address was looked up")?;
        ensure!(
            asked != behind,
            "{name} is the pod's own address, not a Service's"
        );
        client_sees(&outcome, asked, world.ip(from, ip)?)?;
        let seen = greeting(&outcome)?;
        ensure!(
            plain(seen.local) == behind,
            "getsockname() of the server is {}, expected {behind}",
            seen.local
        );
        // A pod that reaches itself through its Service may see the Service's or its own address.
        if from != to {
            server_sees(seen, local(&outcome)?, behind)?;
        }
    }
    Ok(())
}

fn from_outside(world: &World, ip: Ip) -> Result<()> {
    let at = world.at(SERVER_B, ip, port::GREET)?;
    let program = world.lab.program("warren-peer");
    let done = world
        .lab
        .outside(&[&program, "connect", &at.to_string(), "--mode", "greet"])?;
    let outcome: Outcome = parse(&done.stdout).with_context(|| done.to_string())?;
    ensure!(outcome.ok, "from outside the cluster: {done}");
    server_sees(greeting(&outcome)?, local(&outcome)?, at)
}

fn client_sees(outcome: &Outcome, asked: SocketAddr, own: IpAddr) -> Result<()> {
    let peer = outcome.peer.context("no getpeername() of the client")?;
    ensure!(
        peer == asked,
        "getpeername() of the client is {peer}, it connected to {asked}"
    );
    let local = local(outcome)?;
    ensure!(
        local.ip() == own,
        "getsockname() of the client is {local}, its address is {own}"
    );
    Ok(())
}

fn server_sees(seen: &Greeting, client: SocketAddr, own: SocketAddr) -> Result<()> {
    ensure!(
        plain(seen.accept) == client,
        "accept() gave {}, the client is {client}",
        seen.accept
    );
    ensure!(
        plain(seen.peer) == client,
        "getpeername() of the server is {}, the client is {client}",
        seen.peer
    );
    ensure!(
        plain(seen.local) == own,
        "getsockname() of the server is {}, expected {own}",
        seen.local
    );
    Ok(())
}

/// The servers listen on dual-stack sockets, which show IPv4 as mapped addresses.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn greeting(outcome: &Outcome) -> Result<&Greeting> {
    outcome.greeting.as_ref().context("the server said nothing")
}

fn local(outcome: &Outcome) -> Result<SocketAddr> {
    outcome.local.context("no getsockname() of the client")
}
