//! Bytes that nobody should send: closed or refused, and nothing else is disturbed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Registry;
use super::protocols::{PYTHON, program};
use crate::lab::Pod;
use crate::peer::StreamReport;
use crate::world::{CLIENT_A, Ip, PLAIN_A, SERVER_B, World, parse, port};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    for attack in ["garbage", "plaintext-http"] {
        add.both(&format!("hbone-port/{attack}"), move |w, ip| {
            on_hbone_port(w, ip, attack)
        });
    }
    add.one("sockets/cni", |w| on_socket(w, "cni.sock"));
    add.one("sockets/admin", |w| {
        on_socket(w, "agent-admin.sock")?;
        on_socket(w, "ztunnel-admin.sock")
    });
}

/// A busy connection from before goes on while the attack runs, and new ones work after it.
fn on_hbone_port(world: &World, ip: Ip, attack: &str) -> Result<()> {
    let far = world.at(SERVER_B, ip, port::ECHO)?.to_string();
    let mut busy = world.start_peer(CLIENT_A, &["stream", &far, "--seconds", "2"], true)?;
    let target = world.ip(SERVER_B, ip)?.to_string();
    attack_from(world, PLAIN_A, &target, attack)?;
    busy.wait(Duration::from_secs(20))?;
    let report: StreamReport = parse(&busy.rest())?;
    ensure!(
        report.ok,
        "{attack} disturbed another connection: {report:?}"
    );
    world.connect(CLIENT_A, &far, &[]).map(drop)
}

fn attack_from(world: &World, from: Pod, target: &str, attack: &str) -> Result<()> {
    let script = program("attack.py");
    let limit = Duration::from_secs(60);
    let said = world
        .lab
        .exec_within(from, &[PYTHON, &script, attack, target, "15008"], limit)?
        .ok()?;
    ensure!(said.contains("held off"), "{attack} on port 15008: {said}");
    Ok(())
}

/// Random bytes on a node's socket: whatever the answer, the process lives and works.
fn on_socket(world: &World, name: &str) -> Result<()> {
    let path = world.lab.dir().join("nodes/a/run").join(name);
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for size in [1, 100, 5000, noise.len()] {
        let mut stream = UnixStream::connect(&path)
            .with_context(|| format!("cannot connect to {}", path.display()))?;
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        // The other side may close before it took everything.
        let _ = stream.write_all(&noise[..size]);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0; 1024]);
    }
    let far = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    world.connect(CLIENT_A, &far, &[])?;
    let status = admin(world, "a", "agent", "/status")?;
    ensure!(
        status.contains("\"ready\":true"),
        "after noise on {name} the agent says {status}"
    );
    Ok(())
}

/// Asks an admin socket of a node.
pub fn admin(world: &World, node: &str, component: &str, path: &str) -> Result<String> {
    let socket = world
        .lab
        .dir()
        .join(format!("nodes/{node}/run/{component}-admin.sock"));
    let mut command = std::process::Command::new("curl");
    command
        .args(["-sS", "-m", "5", "--fail", "--unix-socket"])
        .arg(socket)
        .arg(format!("http://warren{path}"));
    crate::process::run(command, crate::process::LIMIT)?.ok()
}
