//! The real tunnel as a client: what the model of the mesh costs it. It has no agent, so it carries nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::server::{NODE, Server, free_address};
use crate::process::{self, Memory};

/// Memory of a tunnel that has taken all of `workloads`.
///
/// # Errors
/// It cannot be started, or does not get there within `limit`.
pub fn memory(
    program: &Path,
    server: &Server,
    dir: &Path,
    workloads: usize,
    limit: Duration,
) -> Result<Memory> {
    let (admin, deadline) = (free_address()?, Instant::now() + limit);
    let tunnel = Tunnel(start(program, server, dir, admin)?);
    while known(admin).is_none_or(|known| known < workloads as u64) {
        if Instant::now() > deadline {
            bail!(
                "after {limit:?} the tunnel has {:?} of {workloads} workloads",
                known(admin)
            );
        }
        sleep(Duration::from_millis(200));
    }
    // What the first sync needed for a moment is given back.
    sleep(Duration::from_secs(2));
    process::memory(tunnel.0.id())
}

struct Tunnel(Child);

impl Drop for Tunnel {
    fn drop(&mut self) {
        // One that has ended by itself is only reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, server: &Server, dir: &Path, admin: SocketAddr) -> Result<Child> {
    let run = dir.join("tunnel");
    std::fs::create_dir_all(&run).with_context(|| format!("cannot make {}", run.display()))?;
    let mut command = Command::new(program);
    command.args([
        "--node",
        NODE,
        "--xds",
        &format!("https://{}", server.address),
        "--log",
        "error",
    ]);
    command.args([
        "--admin-addr",
        &admin.to_string(),
        "--metrics-addr",
        &free_address()?.to_string(),
    ]);
    command.args(["--readiness-addr", &free_address()?.to_string()]);
    command
        .arg("--root-cert")
        .arg(&server.root_cert)
        .arg("--token")
        .arg(&server.token)
        .arg("--run-dir")
        .arg(&run);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Workloads that the tunnel knows, once it has everything; None before, and while it cannot be asked.
fn known(admin: SocketAddr) -> Option<u64> {
    let mut stream = TcpStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1.trim()).ok()?;
    let xds = status
        .get("xds")
        .filter(|xds| xds.get("synced") == Some(&Value::Bool(true)))?;
    xds.get("workloads")?.as_u64()
}
