//! What passes between the nodes: before, after, and for pods of one node.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::capture::{Capture, Packets};
use crate::lab::Pod;
use crate::scenario::interception::is_direct;
use crate::scenario::wire::MARKER;
use crate::world::{CLIENT_A, Ip, SERVER_A, SERVER_B, World, eventually, port};

const BYTES: u64 = 100_000;

/// Plaintext crosses the link.
pub fn before(world: &World) -> Result<Vec<String>> {
    let packets = captured(world, SERVER_B)?;
    let clear = packets.occurrences(MARKER)?;
    ensure!(clear > 0, "the payload was not seen on the link");
    Ok(vec![format!(
        "{CLIENT_A} sent {BYTES} bytes to {SERVER_B} and back: the capture shows the payload {clear} times in the clear"
    )])
}

/// Only TLS on port 15008 crosses it.
pub fn after(world: &World) -> Result<Vec<String>> {
    // Without open tunnel connections the next one begins with a handshake to look at.
    world.lab.restart("ztunnel", "a", false)?;
    let packets = captured(world, SERVER_B)?;
    let clear = packets.occurrences(MARKER)?;
    ensure!(
        clear == 0,
        "the payload was on the link {clear} times in the clear"
    );
    let among = format!(
        "tcp and host {} and host {}",
        world.ip(CLIENT_A, Ip::V4)?,
        world.ip(SERVER_B, Ip::V4)?
    );
    let tunnel = packets.matching(&format!("{among} and port 15008"))?.len();
    let others = packets
        .matching(&format!("{among} and not port 15008"))?
        .len();
    ensure!(
        tunnel > 0 && others == 0,
        "{tunnel} packets on port 15008, {others} on others"
    );
    let hello = packets.server_hello()?;
    ensure!(
        hello.version == Some(0x0304),
        "TLS version {:04x?}",
        hello.version
    );
    let group = match hello.group {
        Some(0x11ec) => "X25519MLKEM768 (post-quantum)".to_owned(),
        other => format!("group {other:04x?}"),
    };
    Ok(vec![
        format!(
            "the same {BYTES} bytes: 0 times in the clear, {tunnel} packets between the pods, all of them on port 15008"
        ),
        format!("the handshake: TLS 1.3, {group}"),
    ])
}

/// The second connection of a kind needs no tunnel.
pub fn direct(world: &World) -> Result<Vec<String>> {
    eventually(Duration::from_secs(5), || {
        ensure!(
            is_direct(world, CLIENT_A, SERVER_A, Ip::V4)?,
            "{CLIENT_A} to {SERVER_A} goes through the tunnel"
        );
        Ok(())
    })?;
    let packets = captured(world, SERVER_A)?;
    let seen = packets
        .matching(&format!("tcp and host {}", world.ip(SERVER_A, Ip::V4)?))?
        .len();
    ensure!(seen == 0, "{seen} packets of it left the node");
    let far = is_direct(world, CLIENT_A, SERVER_B, Ip::V4)?;
    ensure!(!far, "a connection to another node was direct");
    Ok(vec![
        format!(
            "{CLIENT_A} to {SERVER_A}: `ss` shows the application's socket connected to the server itself, {seen} packets left the node"
        ),
        format!("{CLIENT_A} to {SERVER_B}: captured, carried by the tunnel"),
    ])
}

fn captured(world: &World, to: Pod) -> Result<Packets> {
    let capture = Capture::on_link(world, "a", SERVER_B)?;
    let at = world.at(to, Ip::V4, port::ECHO)?.to_string();
    world.connect(
        CLIENT_A,
        &at,
        &["--text", MARKER, "--bytes", &BYTES.to_string()],
    )?;
    capture.stop()
}
