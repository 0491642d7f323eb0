//! A `warren-control` of our own over a directory.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::token::{self, AUDIENCE, ISSUER};

/// The node that clients say they are on.
pub const NODE: &str = "node-0";

/// A running controller; ended when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    started: Instant,
    log: PathBuf,
    /// Where it serves xDS.
    pub address: SocketAddr,
    /// Its root, written by it.
    pub root_cert: PathBuf,
    /// A token of a tunnel on [`NODE`].
    pub token: PathBuf,
}

impl Server {
    /// Starts `program` over `source`, with everything else below `dir`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, source: &Path, dir: &Path) -> Result<Self> {
        let (state, run, jwks) = (dir.join("state"), dir.join("run"), dir.join("jwks.json"));
        for made in [&state, &run] {
            fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
        }
        let (token, signed) = (dir.join("token"), token::tunnel(NODE)?);
        fs::write(&token, signed.token).context("cannot write the token")?;
        fs::write(&jwks, signed.jwks).context("cannot write the token's public key")?;
        let (address, debug) = (free_address()?, free_address()?);
        let log = dir.join("control.log");
        let output = File::create(&log).context("no file for the controller's log")?;
        let mut command = Command::new(program);
        command.args([
            "--source",
            &format!("dir:{}", source.display()),
            "--trust-domain",
            "cluster.local",
        ]);
        command.args([
            "--xds-addr",
            &address.to_string(),
            "--debug-addr",
            &debug.to_string(),
        ]);
        command.args(["--token-issuer", ISSUER, "--token-audience", AUDIENCE]);
        command
            .arg("--jwks")
            .arg(&jwks)
            .arg("--state-dir")
            .arg(&state)
            .arg("--run-dir")
            .arg(&run);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            child,
            started,
            log,
            address,
            root_cert: run.join("root-cert.pem"),
            token,
        })
    }

    /// Waits until the controller has written its root and takes connections.
    ///
    /// # Errors
    /// It does not get there in time; with the end of its log.
    pub fn wait_for_root(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !(self.root_cert.is_file() && TcpStream::connect(self.address).is_ok()) {
            if Instant::now() > deadline {
                bail!(
                    "the controller does not serve after {limit:?}; its log ends with:\n{}",
                    self.log_tail()
                );
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Time since it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself is only reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that was free just now.
///
/// # Errors
/// None is.
pub fn free_address() -> Result<SocketAddr> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?)
}
