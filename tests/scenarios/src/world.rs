//! What scenarios share: the running lab, its pods, and the questions that they ask of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;

use crate::lab::{Lab, Pod};
use crate::peer::{Outcome, Ready};
use crate::process::{Done, LIMIT, Running, installed};

/// Client of the enrolled namespace `shop` on node a.
pub const CLIENT_A: Pod = Pod::new("shop", "client-a");
/// Client of `shop` on node b.
pub const CLIENT_B: Pod = Pod::new("shop", "client-b");
/// Server of `shop` on node a.
pub const SERVER_A: Pod = Pod::new("shop", "server-a");
/// Server of `shop` on node b.
pub const SERVER_B: Pod = Pod::new("shop", "server-b");
/// Client of the enrolled namespace `other` on node a.
pub const OTHER_A: Pod = Pod::new("other", "client-a");
/// Server of `other` on node b.
pub const OTHER_B: Pod = Pod::new("other", "server-b");
/// Pod outside the mesh on node a.
pub const PLAIN_A: Pod = Pod::new("plain", "client-a");
/// Server outside the mesh on node b.
pub const PLAIN_B: Pod = Pod::new("plain", "server-b");

/// Ports of `warren-peer serve` in every server pod.
pub mod port {
    /// Echo.
    pub const ECHO: u16 = 8080;
    /// Speaks first and tells the addresses that it sees.
    pub const GREET: u16 = 8081;
    /// Takes bytes, answers with their checksum.
    pub const SINK: u16 = 8082;
    /// Sends as many bytes as asked for.
    pub const SOURCE: u16 = 8083;
    /// Closes its half first.
    pub const HALF_CLOSE: u16 = 8084;
    /// Tells of past connections.
    pub const REPORT: u16 = 8085;
    /// UDP echo.
    pub const UDP: u16 = 8086;
}

/// An address family.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both.
pub const FAMILIES: [Ip; 2] = [Ip::V4, Ip::V6];

impl Ip {
    /// `4` or `6`, as options take it.
    pub fn digit(self) -> &'static str {
        match self {
            Self::V4 => "4",
            Self::V6 => "6",
        }
    }

    fn holds(self, ip: &IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::V4)
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.digit())
    }
}

/// A scenario that cannot run on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub String);

/// Skips the scenario unless all programs are installed.
pub fn need(programs: &[&str]) -> Result<()> {
    match programs.iter().find(|p| !installed(p)) {
        Some(missing) => bail!(Skip(format!("{missing} is not installed"))),
        None => Ok(()),
    }
}

/// The running lab and what is known of it.
#[derive(Debug)]
pub struct World {
    /// The lab.
    pub lab: Lab,
    addresses: Mutex<BTreeMap<Pod, Vec<IpAddr>>>,
}

impl World {
    /// Of a lab that is up.
    pub fn new(lab: Lab) -> Self {
        Self {
            lab,
            addresses: Mutex::default(),
        }
    }

    /// A pod's address.
    pub fn ip(&self, pod: Pod, ip: Ip) -> Result<IpAddr> {
        let known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&pod)
            .cloned();
        let all = match known {
            Some(all) => all,
            None => {
                let all: Vec<IpAddr> = self.peer(pod, &["addrs"])?.1;
                self.addresses
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(pod, all.clone());
                all
            }
        };
        all.into_iter()
            .find(|a| ip.holds(a))
            .with_context(|| format!("{pod} has no {ip} address"))
    }

    /// A port of a pod.
    pub fn at(&self, pod: Pod, ip: Ip, port: u16) -> Result<SocketAddr> {
        Ok((self.ip(pod, ip)?, port).into())
    }

    /// Runs `warren-peer` in a pod; the last line that it prints is the result.
    pub fn peer<T: DeserializeOwned>(&self, pod: Pod, argv: &[&str]) -> Result<(Done, T)> {
        self.peer_within(pod, argv, LIMIT)
    }

    /// The same with another limit.
    pub fn peer_within<T: DeserializeOwned>(
        &self,
        pod: Pod,
        argv: &[&str],
        limit: Duration,
    ) -> Result<(Done, T)> {
        let program = self.lab.program("warren-peer");
        let all: Vec<&str> = std::iter::once(program.as_str())
            .chain(argv.iter().copied())
            .collect();
        let done = self.lab.exec_within(pod, &all, limit)?;
        let value = parse(&done.stdout).with_context(|| format!("{pod}: {done}"))?;
        Ok((done, value))
    }

    /// Starts `warren-peer` in a pod and, where `ready`, waits until it says so.
    pub fn start_peer(&self, pod: Pod, argv: &[&str], ready: bool) -> Result<Running> {
        if ready {
            return Ok(self.ready_peer(pod, argv)?.0);
        }
        self.lab.start(
            pod,
            &self
                .peer_argv(argv)
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    }

    /// Starts `warren-peer` in a pod and waits until it is at work; also what it then said.
    pub fn ready_peer(&self, pod: Pod, argv: &[&str]) -> Result<(Running, Ready)> {
        let mut running = self.start_peer(pod, argv, false)?;
        let line = running.line(Duration::from_secs(15))?;
        let ready: Ready = parse(&line)?;
        ensure!(
            ready.ready,
            "{pod}: `warren-peer {}` said {line}",
            argv.join(" ")
        );
        Ok((running, ready))
    }

    fn peer_argv(&self, argv: &[&str]) -> Vec<String> {
        std::iter::once(self.lab.program("warren-peer"))
            .chain(argv.iter().map(|a| (*a).to_owned()))
            .collect()
    }

    /// One connection, whatever comes of it.
    pub fn try_connect(&self, from: Pod, to: &str, options: &[&str]) -> Result<Outcome> {
        let argv: Vec<&str> = ["connect", to]
            .into_iter()
            .chain(options.iter().copied())
            .collect();
        Ok(self.peer(from, &argv)?.1)
    }

    /// One connection that must hold.
    pub fn connect(&self, from: Pod, to: &str, options: &[&str]) -> Result<Outcome> {
        let outcome = self.try_connect(from, to, options)?;
        ensure!(
            outcome.ok,
            "{from} to {to} {}: {}",
            options.join(" "),
            told(&outcome)
        );
        Ok(outcome)
    }

    /// A connection to a port in `greet` mode that must hold.
    pub fn greet(&self, from: Pod, to: &str, ip: Ip) -> Result<Outcome> {
        self.connect(from, to, &["--mode", "greet", "--family", ip.digit()])
    }

    /// Tries until it holds, as long as it may take here; past the limit the last failure is the error.
    pub fn eventually<T>(&self, limit: Duration, check: impl FnMut() -> Result<T>) -> Result<T> {
        eventually(self.lab.patience(limit), check)
    }

    /// Applies a manifest of `manifests/`; deleted again when the guard is dropped.
    pub fn apply(&self, manifest: &str) -> Result<Applied<'_>> {
        let file = manifests().join(manifest);
        self.lab.apply(&file)?.ok()?;
        Ok(Applied { world: self, file })
    }
}

/// A manifest that is applied.
#[derive(Debug)]
pub struct Applied<'a> {
    world: &'a World,
    file: PathBuf,
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        match self.world.lab.delete(&self.file).and_then(Done::ok) {
            Ok(_) => {}
            Err(error) => eprintln!("cannot delete {}: {error:#}", self.file.display()),
        }
    }
}

/// What an outcome says, in one line.
pub fn told(outcome: &Outcome) -> String {
    if outcome.ok {
        return format!(
            "ok, {} bytes sent, {} received",
            outcome.sent, outcome.received
        );
    }
    let text = |o: &Option<String>| o.clone().unwrap_or_default();
    format!(
        "failed at {} ({} {}), {} bytes sent, {} received, after {} ms",
        text(&outcome.stage),
        text(&outcome.errno),
        text(&outcome.error),
        outcome.sent,
        outcome.received,
        outcome.total_ms
    )
}

/// The last line of a text, read as JSON.
pub fn parse<T: DeserializeOwned>(stdout: &str) -> Result<T> {
    let last = stdout.lines().last().context("nothing was printed")?;
    serde_json::from_str(last).with_context(|| format!("{last:?} is not what was expected"))
}

/// Tries until it holds; past the limit the last failure is the error.
pub fn eventually<T>(limit: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if begin.elapsed() >= limit => {
                return Err(error.context(format!(
                    "still so after {:.1} s",
                    begin.elapsed().as_secs_f64()
                )));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The folder of the scenarios' manifests.
pub fn manifests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests"))
}
