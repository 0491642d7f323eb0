//! Sockets with their peculiarities work as they do without a mesh.

mod servers;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Registry;
use crate::lab::Pod;
use crate::peer::{Outcome, SpreadReport};
use crate::world::{
    CLIENT_A, CLIENT_B, FAMILIES, Ip, PLAIN_A, SERVER_A, SERVER_B, World, port, told,
};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.anywhere(|add| {
        add.one("ipv4-mapped", |w| with(w, Ip::V4, &["--family", "mapped"]));
        add.both("non-blocking-connect", |w, ip| {
            with(w, ip, &["--nonblocking"])
        });
        add.both("multipath-tcp", |w, ip| with(w, ip, &["--mptcp"]));
        add.both("fast-open", fast_open);
        add.both("bound-to-device", bound_to_device);
        add.both("bound-to-address-and-port", bound);
        add.both("reconnect-after-unspec", after_unspec);
        add.one("same-source-port-in-both-families", same_source_port);
        add.both("squatter-on-mesh-ports", squatter);
        add.both("service-without-endpoints-is-refused", nobody_home);
        add.both("service-without-that-port-is-refused", no_such_port);
        add.both("nothing-listens", nothing_listens);
        add.both("headless-service", headless);
        add.both("named-target-port", named_target_port);
        add.both("localhost", localhost);
        add.both("own-address", own_address);
        add.both("udp", udp);
        add.both("icmp", icmp);
        servers::register(add);
    });
    // Needs to write settings of the kernel.
    add.both("forced-syn-cookies", syn_cookies);
}

/// To the same node and the other one, twice each: captured, then perhaps direct.
fn with(world: &World, ip: Ip, options: &[&str]) -> Result<()> {
    for to in [SERVER_A, SERVER_A, SERVER_B, SERVER_B] {
        true_addresses(world, CLIENT_A, to, ip, options)?;
    }
    Ok(())
}

fn true_addresses(world: &World, from: Pod, to: Pod, ip: Ip, options: &[&str]) -> Result<Outcome> {
    true_addresses_at(world, from, to, port::GREET, ip, options)
}

fn true_addresses_at(
    world: &World,
    from: Pod,
    to: Pod,
    port: u16,
    ip: Ip,
    options: &[&str],
) -> Result<Outcome> {
    let at = world.at(to, ip, port)?;
    let all = [&["--mode", "greet", "--bytes", "5000"][..], options].concat();
    let outcome = world.connect(from, &at.to_string(), &all)?;
    let local = outcome.local.context("no getsockname()")?;
    let seen = outcome
        .greeting
        .as_ref()
        .context("the server said nothing")?;
    let what = options.join(" ");
    ensure!(
        plain(seen.accept) == plain(local),
        "{what}: accept() gave {}, the client is {local}",
        seen.accept
    );
    ensure!(
        plain(seen.peer) == plain(local),
        "{what}: the server's peer is {}, the client is {local}",
        seen.peer
    );
    let peer = outcome.peer.context("no getpeername()")?;
    ensure!(
        plain(peer) == at,
        "{what}: the client's peer is {peer}, it asked for {at}"
    );
    Ok(outcome)
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn fast_open(world: &World, ip: Ip) -> Result<()> {
    // With Fast Open the addresses are known only once data went out, so the plain echo is the check.
    for to in [SERVER_A, SERVER_A, SERVER_B, SERVER_B] {
        let at = world.at(to, ip, port::ECHO)?.to_string();
        world.connect(CLIENT_A, &at, &["--tfo", "--bytes", "5000"])?;
    }
    Ok(())
}

fn bound_to_device(world: &World, ip: Ip) -> Result<()> {
    with(world, ip, &["--device", &device(world, CLIENT_A)?])
}

/// The network device of a pod's own.
fn device(world: &World, pod: Pod) -> Result<String> {
    let route = world
        .lab
        .exec(pod, &["ip", "-o", "route", "show", "default"])?
        .ok()?;
    let mut words = route.split_whitespace().skip_while(|w| *w != "dev");
    let device = words.nth(1).map(str::to_owned);
    device.with_context(|| format!("{pod} has no default route: {route}"))
}

fn bound(world: &World, ip: Ip) -> Result<()> {
    for (number, to) in [SERVER_A, SERVER_A, SERVER_B, SERVER_B]
        .into_iter()
        .enumerate()
    {
        let bind = SocketAddr::new(world.ip(CLIENT_A, ip)?, 20_100 + number as u16);
        let outcome = true_addresses(world, CLIENT_A, to, ip, &["--bind", &bind.to_string()])?;
        ensure!(
            outcome.local == Some(bind),
            "bound to {bind}, getsockname() gives {:?}",
            outcome.local
        );
    }
    Ok(())
}

fn after_unspec(world: &World, ip: Ip) -> Result<()> {
    let first = world.at(SERVER_A, ip, port::ECHO)?.to_string();
    with(world, ip, &["--unspec-after", &first])
}

/// To both nodes; the next connection from the port is another one for the kernel's tables.
fn same_source_port(world: &World) -> Result<()> {
    for to in [SERVER_A, SERVER_B] {
        let held: Vec<_> = FAMILIES
            .into_iter()
            .map(|ip| {
                let bind = SocketAddr::new(world.ip(CLIENT_A, ip)?, 20_200).to_string();
                let at = world.at(to, ip, port::ECHO)?.to_string();
                let argv = ["stream", &at, "--seconds", "2", "--bind", &bind];
                world.start_peer(CLIENT_A, &argv, true)
            })
            .collect::<Result<_>>()?;
        for mut running in held {
            let status = running.wait(Duration::from_secs(10))?;
            ensure!(
                status.success(),
                "one of the two connections on port 20200 to {to} failed: {}",
                running.rest()
            );
        }
    }
    Ok(())
}

/// An application that listens on the mesh's ports neither gets their connections nor is disturbed.
fn squatter(world: &World, ip: Ip) -> Result<()> {
    let listen = ["serve", "greet=15001", "greet=15006", "greet=15008"];
    let _client_side = world.start_peer(CLIENT_A, &listen, true)?;
    let _server_side = world.start_peer(SERVER_B, &listen, true)?;
    true_addresses(world, CLIENT_A, SERVER_B, ip, &[])?;
    true_addresses(world, CLIENT_A, SERVER_A, ip, &[])?;
    true_addresses(world, PLAIN_A, SERVER_B, ip, &[])?;
    for number in [15001, 15008] {
        let at = world.at(SERVER_B, ip, number)?.to_string();
        let stolen =
            world.try_connect(PLAIN_A, &at, &["--mode", "greet", "--timeout-ms", "1000"])?;
        ensure!(
            stolen.greeting.is_none(),
            "an application answered on the mesh's port {number}"
        );
    }
    Ok(())
}

fn nobody_home(world: &World, ip: Ip) -> Result<()> {
    let name = format!("nobody.shop.svc.cluster.local:{}", port::ECHO);
    let outcome = world.try_connect(CLIENT_A, &name, &["--family", ip.digit()])?;
    refused(&outcome, "a Service without endpoints")
}

/// A Service without that port is refused at connect(), as kube-proxy would.
fn no_such_port(world: &World, ip: Ip) -> Result<()> {
    let name = "web-b.shop.svc.cluster.local:81";
    let outcome = world.try_connect(CLIENT_A, name, &["--family", ip.digit()])?;
    refused(&outcome, "a port that the Service does not have")
}

/// A destination whose pod listens on no such port fails, at once or right after connecting.
fn nothing_listens(world: &World, ip: Ip) -> Result<()> {
    for to in [SERVER_A, SERVER_B] {
        let at = world.at(to, ip, 9)?.to_string();
        let outcome = world.try_connect(CLIENT_A, &at, &[])?;
        ensure!(
            !outcome.ok,
            "{to} answered on port 9, where nothing listens"
        );
        let errno = outcome.errno.as_deref().unwrap_or_default();
        let told_so = ["ECONNREFUSED", "ECONNRESET", "EPIPE", "ENOTCONN"].contains(&errno);
        ensure!(
            told_so && outcome.total_ms < 5000,
            "{to}, port 9: expected a reset: {}",
            told(&outcome)
        );
    }
    Ok(())
}

fn refused(outcome: &Outcome, what: &str) -> Result<()> {
    let at_connect = outcome.stage.as_deref() == Some("connect");
    let refused = outcome.errno.as_deref() == Some("ECONNREFUSED");
    ensure!(
        at_connect && refused,
        "{what}: expected ECONNREFUSED at connect(): {}",
        told(outcome)
    );
    Ok(())
}

fn headless(world: &World, ip: Ip) -> Result<()> {
    let name = format!("web-headless.shop.svc.cluster.local:{}", port::GREET);
    for _ in 0..4 {
        let outcome = world.greet(CLIENT_A, &name, ip)?;
        let asked = outcome.asked.context("no address")?.ip();
        let pods: Vec<IpAddr> = vec![world.ip(SERVER_A, ip)?, world.ip(SERVER_B, ip)?];
        ensure!(
            pods.contains(&asked),
            "{name} gave {asked}, which is none of the pods"
        );
    }
    Ok(())
}

fn named_target_port(world: &World, ip: Ip) -> Result<()> {
    for (service, to) in [("web-a", SERVER_A), ("web-b", SERVER_B)] {
        let outcome = world.greet(
            CLIENT_A,
            &format!("{service}.shop.svc.cluster.local:80"),
            ip,
        )?;
        let seen = outcome.greeting.context("the server said nothing")?;
        let behind = world.at(to, ip, port::GREET)?;
        ensure!(
            plain(seen.local) == behind,
            "port 80 of {service} led to {}, expected {behind}",
            seen.local
        );
    }
    Ok(())
}

fn localhost(world: &World, ip: Ip) -> Result<()> {
    let loopback = if ip == Ip::V4 { "127.0.0.1" } else { "[::1]" };
    let at: SocketAddr = format!("{loopback}:{}", port::GREET).parse()?;
    let outcome = world.greet(SERVER_A, &at.to_string(), ip)?;
    let seen = outcome.greeting.context("the server said nothing")?;
    ensure!(
        plain(seen.peer).ip() == at.ip(),
        "on localhost the server sees {}",
        seen.peer
    );
    ensure!(
        outcome.peer == Some(at),
        "on localhost the client sees {:?}",
        outcome.peer
    );
    Ok(())
}

fn own_address(world: &World, ip: Ip) -> Result<()> {
    let at = world.at(SERVER_A, ip, port::GREET)?;
    let outcome = world.greet(SERVER_A, &at.to_string(), ip)?;
    let seen = outcome.greeting.context("the server said nothing")?;
    ensure!(
        plain(seen.peer).ip() == at.ip(),
        "a pod that calls itself is seen as {}",
        seen.peer
    );
    Ok(())
}

fn udp(world: &World, ip: Ip) -> Result<()> {
    for (from, to) in [
        (CLIENT_A, SERVER_A),
        (CLIENT_A, SERVER_B),
        (PLAIN_A, SERVER_B),
    ] {
        let at = world.at(to, ip, port::UDP)?.to_string();
        let (done, outcome): (_, Outcome) = world.peer(from, &["udp", &at])?;
        ensure!(outcome.ok, "UDP from {from} to {to}: {done}");
    }
    Ok(())
}

fn icmp(world: &World, ip: Ip) -> Result<()> {
    for (from, to) in [
        (CLIENT_A, SERVER_A),
        (CLIENT_A, SERVER_B),
        (CLIENT_B, SERVER_A),
    ] {
        let at = world.ip(to, ip)?.to_string();
        let (done, outcome): (_, Outcome) = world.peer(from, &["ping", &at])?;
        ensure!(outcome.ok, "ICMP echo from {from} to {to}: {done}");
    }
    Ok(())
}

/// `tcp_syncookies=2` makes every handshake use cookies, which look the listener up again at the final ACK.
fn syn_cookies(world: &World, ip: Ip) -> Result<()> {
    let set = |pod, value: &str| {
        let script = format!("echo {value} > /proc/sys/net/ipv4/tcp_syncookies");
        world.lab.exec(pod, &["sh", "-c", &script])?.ok()
    };
    let pods = [CLIENT_A, SERVER_A, SERVER_B];
    let result = pods
        .iter()
        .try_for_each(|pod| set(*pod, "2").map(drop))
        .and_then(|()| {
            with(world, ip, &[])?;
            let at = world.at(SERVER_A, ip, port::GREET)?.to_string();
            let (done, report): (_, SpreadReport) =
                world.peer(CLIENT_A, &["spread", &at, "--count", "50"])?;
            ensure!(report.ok, "50 connections with SYN cookies: {done}");
            Ok(())
        });
    for pod in pods {
        set(pod, "1")?;
    }
    result
}
