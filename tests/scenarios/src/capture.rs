//! Packet captures in a node's network namespace.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::hello::{self, ServerHello};
use crate::lab::{Lab, Pod};
use crate::process::{LIMIT, Running, run};
use crate::world::{Ip, World};

/// A capture at work.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Running,
    file: PathBuf,
    _dir: TempDir,
}

/// A capture that ended.
#[derive(Debug)]
pub struct Packets {
    file: PathBuf,
    _dir: TempDir,
}

impl Capture {
    /// Captures everything on the link from `node` towards `towards`.
    pub fn on_link(world: &World, node: &str, towards: Pod) -> Result<Self> {
        let device = link(world, node, towards)?;
        Self::on_device(&world.lab, node, &device)
    }

    /// Captures everything on a device of a node.
    pub fn on_device(lab: &Lab, node: &str, device: &str) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let file = dir.path().join("link.pcap");
        let path = file.to_string_lossy();
        // tcpdump says on standard error that it is at work.
        let script = "exec tcpdump -i \"$0\" -nn -U --immediate-mode -Z root -w \"$1\" 2>&1";
        let mut tcpdump = lab.start_on_node(node, &["sh", "-c", script, device, &path])?;
        while !tcpdump
            .line(Duration::from_secs(10))?
            .contains("listening on")
        {}
        Ok(Self {
            tcpdump,
            file,
            _dir: dir,
        })
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<Packets> {
        // What is on its way through the kernel's ring still has to arrive.
        std::thread::sleep(Duration::from_millis(200));
        self.tcpdump.stop(Duration::from_secs(10))?;
        Ok(Packets {
            file: self.file,
            _dir: self._dir,
        })
    }
}

impl Packets {
    /// One line for each packet that a pcap filter matches.
    pub fn matching(&self, filter: &str) -> Result<Vec<String>> {
        let mut command = Command::new("tcpdump");
        command.arg("-nn").arg("-r").arg(&self.file).arg(filter);
        Ok(run(command, LIMIT)?
            .ok()?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// The first TLS ServerHello.
    pub fn server_hello(&self) -> Result<ServerHello> {
        let bytes = std::fs::read(&self.file).context("cannot read the capture")?;
        hello::find(&bytes).context("no TLS ServerHello was captured")
    }

    /// How often a text occurs in what was captured.
    pub fn occurrences(&self, text: &str) -> Result<usize> {
        let bytes = std::fs::read(&self.file).context("cannot read the capture")?;
        Ok(bytes
            .windows(text.len())
            .filter(|w| *w == text.as_bytes())
            .count())
    }
}

/// The device by which `node` reaches a pod of another node.
pub fn link(world: &World, node: &str, towards: Pod) -> Result<String> {
    let address = world.ip(towards, Ip::V4)?.to_string();
    let route = world
        .lab
        .node(node, &["ip", "-o", "route", "get", &address])?
        .ok()?;
    let mut words = route.split_whitespace().skip_while(|w| *w != "dev");
    words
        .nth(1)
        .map(str::to_owned)
        .with_context(|| format!("node {node} has no route to {towards}: {route}"))
}
