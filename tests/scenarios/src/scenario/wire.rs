//! What the link between the nodes carries.

use anyhow::{Result, ensure};

use super::Registry;
use crate::capture::{Capture, Packets};
use crate::lab::Pod;
use crate::world::{CLIENT_A, Ip, OTHER_A, PLAIN_A, SERVER_A, SERVER_B, World, need, port};

/// Text that no other traffic has.
pub const MARKER: &str = "marmalade-on-the-wire";

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("only-ciphertext-on-15008", only_ciphertext);
    add.both("service-only-ciphertext", service_only_ciphertext);
    add.both("same-node-leaves-no-packet", same_node_stays);
    add.both("plaintext-is-seen-where-it-is", plaintext_is_seen);
    add.both("tls-1.3-with-post-quantum-group", post_quantum);
}

fn only_ciphertext(world: &World, ip: Ip) -> Result<()> {
    let packets = captured(
        world,
        CLIENT_A,
        &world.at(SERVER_B, ip, port::ECHO)?.to_string(),
        ip,
    )?;
    only_tunnel(world, &packets, &[CLIENT_A, SERVER_B], ip)?;
    let packets = captured(
        world,
        OTHER_A,
        &world.at(SERVER_B, ip, port::ECHO)?.to_string(),
        ip,
    )?;
    only_tunnel(world, &packets, &[OTHER_A, SERVER_B], ip)
}

fn service_only_ciphertext(world: &World, ip: Ip) -> Result<()> {
    let name = format!("web-b.shop.svc.cluster.local:{}", port::ECHO);
    let packets = captured(world, CLIENT_A, &name, ip)?;
    only_tunnel(world, &packets, &[CLIENT_A, SERVER_B], ip)
}

fn same_node_stays(world: &World, ip: Ip) -> Result<()> {
    let packets = captured(
        world,
        CLIENT_A,
        &world.at(SERVER_A, ip, port::ECHO)?.to_string(),
        ip,
    )?;
    let seen = packets.matching(&format!("tcp and host {}", world.ip(SERVER_A, ip)?))?;
    ensure!(
        seen.is_empty(),
        "{} packets of a same-node connection were on the link: {}",
        seen.len(),
        seen[0]
    );
    Ok(())
}

/// The check itself can fail: traffic outside the mesh is found by it.
fn plaintext_is_seen(world: &World, ip: Ip) -> Result<()> {
    let packets = captured(
        world,
        PLAIN_A,
        &world.at(SERVER_B, ip, port::ECHO)?.to_string(),
        ip,
    )?;
    ensure!(
        packets.occurrences(MARKER)? > 0,
        "a connection from outside the mesh was not seen on the link"
    );
    Ok(())
}

fn post_quantum(world: &World, ip: Ip) -> Result<()> {
    // A new tunnel connection begins with a ClientHello and a ServerHello in the clear.
    world.lab.restart("ztunnel", "a", false)?;
    let packets = captured(
        world,
        CLIENT_A,
        &world.at(SERVER_B, ip, port::ECHO)?.to_string(),
        ip,
    )?;
    let hello = packets.server_hello()?;
    ensure!(
        hello.version == Some(0x0304),
        "the server chose TLS version {:04x?}, not 1.3",
        hello.version
    );
    ensure!(
        hello.group == Some(0x11ec),
        "the server chose group {:04x?}, not X25519MLKEM768",
        hello.group
    );
    Ok(())
}

/// Sends the marker both ways while the link is captured.
fn captured(world: &World, from: Pod, to: &str, ip: Ip) -> Result<Packets> {
    need(&["tcpdump"])?;
    let capture = Capture::on_link(world, "a", SERVER_B)?;
    world.connect(
        from,
        to,
        &["--text", MARKER, "--bytes", "20000", "--family", ip.digit()],
    )?;
    capture.stop()
}

fn only_tunnel(world: &World, packets: &Packets, pods: &[Pod], ip: Ip) -> Result<()> {
    let found = packets.occurrences(MARKER)?;
    ensure!(
        found == 0,
        "the payload was on the link {found} times in the clear"
    );
    let hosts: Vec<String> = pods
        .iter()
        .map(|p| Ok(format!("host {}", world.ip(*p, ip)?)))
        .collect::<Result<_>>()?;
    let among = format!("tcp and ({})", hosts.join(" or "));
    let tunnel = packets.matching(&format!("{among} and port 15008"))?;
    ensure!(!tunnel.is_empty(), "nothing was seen on port 15008");
    let others = packets.matching(&format!("{among} and not port 15008"))?;
    ensure!(
        others.is_empty(),
        "{} packets on other ports than 15008: {}",
        others.len(),
        others[0]
    );
    Ok(())
}
