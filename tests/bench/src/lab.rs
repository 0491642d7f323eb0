//! The lab that the benchmark runs in: two nodes, and the same three pods in an enrolled and in a plain namespace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::load::report::Report;

/// Port of every pod's own server.
pub const PORT: u16 = 8080;

/// With or without the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The enrolled namespace.
    Mesh,
    /// The plain one.
    Plain,
}

impl Side {
    /// The Kubernetes namespace.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Plain => "plain",
        }
    }
}

/// The server that the client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// On the client's node.
    Near,
    /// On the other node.
    Far,
}

impl Server {
    fn pod(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }
}

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    program: PathBuf,
    bench: PathBuf,
    keep: bool,
    reused: bool,
    addresses: Vec<((Side, Server), IpAddr)>,
}

impl Lab {
    /// Brings a new lab up, or takes the one that is up.
    ///
    /// # Errors
    /// The lab does not come up, or pods in it do not answer within 30 s.
    pub fn up(bin_dir: &Path, reuse: bool, keep: bool) -> Result<Self> {
        let program = crate::process::program(bin_dir, "warren-lab")?;
        let bench = std::env::current_exe().context("this program's own path is unknown")?;
        let mut lab = Self {
            program,
            bench,
            keep: keep || reuse,
            reused: reuse,
            addresses: Vec::new(),
        };
        if !reuse {
            let dir = tempfile::tempdir().context("no directory for manifests")?;
            fs::write(dir.path().join("bench.yaml"), manifests(&lab.bench))?;
            let mut up = lab.command(&["up", "--name", "bench", "--nodes", "a,b", "--dir"]);
            let status = up
                .arg(dir.path())
                .stdout(Stdio::null())
                .status()
                .context("warren-lab cannot be started")?;
            ensure!(
                status.success(),
                "`warren-lab up` failed ({status}); see its message above"
            );
        }
        for side in [Side::Mesh, Side::Plain] {
            for server in [Server::Near, Server::Far] {
                let address = lab.address_of(side, server.pod())?;
                lab.addresses.push(((side, server), address));
                lab.await_answer(side, server)?;
            }
        }
        Ok(lab)
    }

    /// Whether the lab was up before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Runs a program in the client's pod and returns what it prints.
    ///
    /// # Errors
    /// It cannot be run or fails; its error output is part of the error.
    pub fn client(&self, side: Side, argv: &[&str]) -> Result<String> {
        self.exec(side, "client", argv)
    }

    /// Runs `warren-bench load WORDS` in the client's pod against a server.
    ///
    /// # Errors
    /// The load stops, or none of it succeeds.
    pub fn load(&self, side: Side, server: Server, words: &[&str]) -> Result<Report> {
        self.load_at(side, &self.target(side, server)?, words)
    }

    /// Runs `warren-bench load WORDS` in the client's pod against an address and port.
    ///
    /// # Errors
    /// The load stops, or none of it succeeds.
    pub fn load_at(&self, side: Side, target: &str, words: &[&str]) -> Result<Report> {
        let bench = self.bench.to_string_lossy();
        let argv = [&[&*bench, "load"], words, &["--target", target]].concat();
        let text = self.client(side, &argv)?;
        let report: Report = serde_json::from_str(text.trim())
            .with_context(|| format!("`load {}` printed no report but: {text}", words.join(" ")))?;
        ensure!(
            report.served > 0,
            "`load {}` in {}: nothing was served",
            words.join(" "),
            side.namespace()
        );
        Ok(report)
    }

    /// Starts a program in a pod, which runs until it is killed or the lab goes down.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, side: Side, pod: &str, argv: &[&str]) -> Result<Child> {
        self.exec_command(side, pod, argv)
            .stdout(Stdio::null())
            .spawn()
            .context("warren-lab cannot be started")
    }

    /// Starts `warren-bench load hold`; returns its first line once its connections are open.
    ///
    /// # Errors
    /// It cannot be started or ends without a line.
    pub fn hold(
        &self,
        server: Server,
        connections: usize,
        seconds: u64,
    ) -> Result<(Child, String)> {
        let (bench, target) = (
            self.bench.to_string_lossy(),
            self.target(Side::Mesh, server)?,
        );
        let (connections, seconds) = (connections.to_string(), seconds.to_string());
        let words = [
            "load",
            "hold",
            "--connections",
            &connections,
            "--seconds",
            &seconds,
            "--target",
            &target,
        ];
        let mut command =
            self.exec_command(Side::Mesh, "client", &[&[&*bench], &words[..]].concat());
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("warren-lab cannot be started")?;
        let stdout = child.stdout.take().context("no output of `load hold`")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            let status = child.wait()?;
            bail!("`load hold --connections {connections}` ended without a word ({status})");
        }
        Ok((child, line))
    }

    /// The processes of the tunnels, one a node.
    ///
    /// # Errors
    /// The lab does not tell, or no tunnel is up.
    pub fn tunnels(&self) -> Result<Vec<u32>> {
        let output = self
            .command(&["ps", "--json"])
            .output()
            .context("warren-lab cannot be started")?;
        let rows: Value = serde_json::from_slice(&output.stdout)
            .context("`warren-lab ps --json` printed no JSON")?;
        let components = rows["components"]
            .as_array()
            .context("`warren-lab ps --json` lists no components")?;
        let tunnels = components.iter().filter(|c| c["component"] == "ztunnel");
        let pids: Vec<u32> = tunnels
            .filter_map(|c| c["pid"].as_u64()?.try_into().ok())
            .collect();
        ensure!(!pids.is_empty(), "no tunnel is up in the lab");
        Ok(pids)
    }

    /// Address of a server.
    ///
    /// # Errors
    /// Never for a lab that is up.
    pub fn ip(&self, side: Side, server: Server) -> Result<IpAddr> {
        let found = self
            .addresses
            .iter()
            .find(|(key, _)| *key == (side, server));
        found
            .map(|(_, ip)| *ip)
            .context("the server has no address")
    }

    fn target(&self, side: Side, server: Server) -> Result<String> {
        Ok(std::net::SocketAddr::new(self.ip(side, server)?, PORT).to_string())
    }

    /// Address of the client's pod.
    ///
    /// # Errors
    /// The pod is gone.
    pub fn client_ip(&self, side: Side) -> Result<IpAddr> {
        self.address_of(side, "client")
    }

    fn address_of(&self, side: Side, pod: &str) -> Result<IpAddr> {
        let text = self.exec(side, pod, &[&self.bench.to_string_lossy(), "address"])?;
        let first = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        first.with_context(|| format!("pod {}/{pod} has no address", side.namespace()))
    }

    fn await_answer(&self, side: Side, server: Server) -> Result<()> {
        self.await_answer_at(side, &self.target(side, server)?)
    }

    /// Waits until something answers requests at an address and port.
    ///
    /// # Errors
    /// Nothing does within 30 s.
    pub fn await_answer_at(&self, side: Side, target: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.load_at(
                side,
                target,
                &["closed", "--connections", "1", "--seconds", "0.1"],
            ) {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > deadline => {
                    return Err(e.context("the server's pod does not answer"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn exec(&self, side: Side, pod: &str, argv: &[&str]) -> Result<String> {
        let output = self
            .exec_command(side, pod, argv)
            .output()
            .context("warren-lab cannot be started")?;
        let shown = || argv.get(1..).unwrap_or_default().join(" ");
        ensure!(
            output.status.success(),
            "in {}/{pod}, `{}` failed ({}): {}",
            side.namespace(),
            shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn exec_command(&self, side: Side, pod: &str, argv: &[&str]) -> Command {
        let mut command = self.command(&["exec", "-n", side.namespace(), pod, "--"]);
        command.args(argv).stdin(Stdio::null());
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        match self.command(&["down"]).stdout(Stdio::null()).status() {
            Ok(status) if status.success() => {}
            other => eprintln!(
                "warren-bench: the lab is still up ({other:?}); try `cargo xtask lab down`"
            ),
        }
    }
}

fn manifests(bench: &Path) -> String {
    let mut out = String::new();
    for (side, label) in [(Side::Mesh, "enabled"), (Side::Plain, "disabled")] {
        let namespace = side.namespace();
        out += &format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels: {{warren.dev/mesh: {label}}}\n---\n"
        );
        for (pod, node) in [("client", "a"), ("near", "a"), ("far", "b")] {
            out += &pod_manifest(namespace, pod, node, bench);
        }
    }
    out
}

fn pod_manifest(namespace: &str, pod: &str, node: &str, bench: &Path) -> String {
    let serve = serde_json::json!([bench, "serve", "--port", PORT.to_string()]);
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {pod}, namespace: {namespace}}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: {namespace}, labels: {{app: {pod}}}}}\n\
         spec:\n  nodeName: {node}\n  serviceAccountName: {pod}\n  containers:\n  - name: bench\n    image: bench\n    \
         command: {serve}\n  - name: iperf3\n    image: iperf3\n    command: [\"/bin/sh\", \"-c\", \
         \"command -v iperf3 >/dev/null && exec iperf3 --server || exec sleep infinity\"]\n---\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_pods_on_the_same_nodes() {
        let text = manifests(Path::new("/bin/warren-bench"));
        let mesh: Vec<&str> = text
            .split("kind: Namespace")
            .nth(1)
            .unwrap()
            .lines()
            .skip(3)
            .collect();
        let plain: Vec<String> = text
            .split("kind: Namespace")
            .nth(2)
            .unwrap()
            .lines()
            .skip(3)
            .map(|l| l.replace("plain", "mesh"))
            .collect();
        let first: Vec<&str> = mesh
            .iter()
            .copied()
            .filter(|l| l.contains("Pod") || l.contains("nodeName"))
            .collect();
        let second: Vec<&str> = plain
            .iter()
            .map(String::as_str)
            .filter(|l| l.contains("Pod") || l.contains("nodeName"))
            .collect();
        assert_eq!(first.len(), 6);
        assert_eq!(first, second);
    }
}
