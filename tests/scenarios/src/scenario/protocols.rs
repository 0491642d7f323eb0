//! Real programs talk as they do without a mesh, on one node and across nodes.

mod databases;
mod remote;
mod web;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Registry;
use crate::lab::Pod;
use crate::process::Running;
use crate::world::{CLIENT_A, Ip, SERVER_A, SERVER_B, World};

/// Debian's interpreter: it has the modules that Debian packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.anywhere(web::register);
    databases::register(add);
    remote::register(add);
}

/// A server program that runs in a pod and the address to reach it at.
pub struct Server<'a> {
    /// The lab.
    pub world: &'a World,
    /// Address of the server's pod.
    pub host: IpAddr,
    /// Its port.
    pub port: u16,
    _program: Running,
}

impl Server<'_> {
    /// `host:port`, brackets around IPv6 addresses.
    pub fn at(&self) -> String {
        std::net::SocketAddr::new(self.host, self.port).to_string()
    }

    /// Runs a client in the client's pod; its standard output.
    pub fn client(&self, argv: &[&str]) -> Result<String> {
        self.world.lab.exec(CLIENT_A, argv)?.ok()
    }

    /// The same; what it prints must contain `expected`.
    pub fn client_says(&self, argv: &[&str], expected: &str) -> Result<()> {
        let said = self.client(argv)?;
        ensure!(
            said.contains(expected),
            "`{}` said {said:?}, expected {expected:?}",
            argv.join(" ")
        );
        Ok(())
    }
}

/// Starts the program on node a, then on node b, and runs the check against each.
pub fn on_both_nodes(
    world: &World,
    ip: Ip,
    port: u16,
    argv: &[&str],
    check: impl Fn(&Server) -> Result<()>,
) -> Result<()> {
    for pod in [SERVER_A, SERVER_B] {
        let program = started(world, pod, port, argv)?;
        let server = Server {
            world,
            host: world.ip(pod, ip)?,
            port,
            _program: program,
        };
        check(&server).with_context(|| format!("{CLIENT_A} to {pod} over {ip}"))?;
    }
    Ok(())
}

/// Path of a program of ours in `programs/`.
pub fn program(name: &str) -> String {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/programs"))
        .join(name)
        .to_string_lossy()
        .into_owned()
}

/// A new directory that pods can see, open to every user.
pub fn shared_dir() -> Result<(tempfile::TempDir, PathBuf)> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))?;
    let path = dir.path().to_owned();
    Ok((dir, path))
}

fn started(world: &World, pod: Pod, port: u16, argv: &[&str]) -> Result<Running> {
    let mut program = world.lab.start(pod, argv)?;
    let filter = format!("sport = :{port}");
    world.eventually(Duration::from_secs(10), || {
        if !program.is_running() {
            program.line(Duration::from_secs(1))?;
        }
        let listening = world.lab.exec(pod, &["ss", "-tlnH", &filter])?.ok()?;
        ensure!(
            !listening.is_empty(),
            "{pod}: `{}` does not listen on port {port}",
            argv.join(" ")
        );
        Ok(())
    })?;
    Ok(program)
}
