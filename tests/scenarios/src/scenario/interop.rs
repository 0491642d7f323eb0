//! The wire, spoken by `warren-interop`: a peer that was written by hand and shares no code with the mesh.

mod ca;
mod client;
mod server;
mod xds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::Registry;
use crate::process::{Done, Running};
use crate::world::World;

/// Where the controller serves.
pub const CONTROLLER: &str = "172.18.0.1:15012";
/// Identity of a pod on node b, for which certificates are fetched.
pub const IDENTITY: &str = "spiffe://cluster.local/ns/other/sa/server";
/// Address of the namespace outside the cluster.
pub const OUTSIDE: [&str; 2] = ["172.18.0.254", "fd00:172:18::fe"];

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    ca::register(add);
    xds::register(add);
    client::register(add);
    server::register(add);
}

/// The peer's program and its files.
pub struct Peer<'w> {
    world: &'w World,
    dir: TempDir,
}

impl<'w> Peer<'w> {
    /// A peer without credentials.
    pub fn new(world: &'w World) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        Ok(Self { world, dir })
    }

    /// A file of the peer's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The mesh's root certificate.
    pub fn root(&self) -> String {
        text(&self.world.lab.dir().join("nodes/a/run/root-cert.pem"))
    }

    /// A token file, minted by the lab with these options.
    pub fn token(&self, options: &[&str]) -> Result<String> {
        let token = self.world.lab.lab(&[&["token"], options].concat())?.ok()?;
        let file = self.path("token");
        std::fs::write(&file, token).context("cannot write a token")?;
        Ok(text(&file))
    }

    /// Options that show a certificate for [`IDENTITY`], fetched from the CA by hand.
    pub fn credentials(&self) -> Result<Vec<String>> {
        let token = self.token(&["--node", "b", "--aud", "istio-ca"])?;
        let out = self.path("cert");
        let argv = [
            "--token",
            &token,
            "--identity",
            IDENTITY,
            "--out",
            &text(&out),
        ];
        self.controller("cert", &argv)?;
        let mut options = vec!["--root-cert".to_owned(), self.root()];
        options.extend(["--cert".into(), text(&out.join("chain.pem"))]);
        options.extend(["--key".into(), text(&out.join("key.pem"))]);
        Ok(options)
    }

    /// Options that show a certificate made with the mesh CA's own key.
    pub fn forged(&self, fault: &str) -> Vec<String> {
        let key = text(&self.world.lab.dir().join("control/ca-key.pem"));
        let root = self.root();
        [
            "--root-cert",
            &root,
            "--forge",
            fault,
            "--signer-cert",
            &root,
            "--signer-key",
            &key,
        ]
        .map(str::to_owned)
        .into()
    }

    /// Runs a subcommand against the controller, from node a; it must succeed.
    pub fn controller(&self, command: &str, options: &[&str]) -> Result<Vec<Value>> {
        let root = self.root();
        let first = [command, "--controller", CONTROLLER, "--root-cert", &root];
        self.on_node("a", &[&first, options].concat())
    }

    /// Starts it in the background.
    pub fn start_at_controller(&self, command: &str, options: &[&str]) -> Result<Running> {
        let (root, program) = (self.root(), self.program());
        let first = [
            &program,
            command,
            "--controller",
            CONTROLLER,
            "--root-cert",
            &root,
        ];
        self.world
            .lab
            .start_on_node("a", &[&first, options].concat())
    }

    /// Runs it in a node's network namespace, or `outside`; it must succeed.
    pub fn on_node(&self, node: &str, argv: &[&str]) -> Result<Vec<Value>> {
        let program = self.program();
        lines(
            self.world
                .lab
                .node(node, &[&[program.as_str()], argv].concat())?,
        )
    }

    /// Starts it in a node's network namespace, or `outside`.
    pub fn start(&self, node: &str, argv: &[&str]) -> Result<Running> {
        let program = self.program();
        self.world
            .lab
            .start_on_node(node, &[&[program.as_str()], argv].concat())
    }

    fn program(&self) -> String {
        self.world.lab.program("warren-interop")
    }
}

/// The lines of a run that must have succeeded.
pub fn lines(done: Done) -> Result<Vec<Value>> {
    ensure!(done.status.success(), "{done}");
    read(&done.stdout)
}

/// Lines of JSON.
pub fn read(stdout: &str) -> Result<Vec<Value>> {
    let lines = stdout.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .with_context(|| format!("not JSON: {stdout}"))
}

/// The lines of a program that must end well by itself.
pub fn finish(mut running: Running, limit: Duration) -> Result<Vec<Value>> {
    let status = running.wait(limit)?;
    let text = running.rest();
    ensure!(status.success(), "{status}: {text}");
    read(&text)
}

/// Every line with this event.
pub fn events<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|l| l["event"] == name).collect()
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Arguments from owned ones.
pub fn refs(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}
