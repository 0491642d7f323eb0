//! Our end of a `warren-bench observe` process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::observe::Seen;
use super::server::{NODE, Server};

/// A client process; ended when dropped.
#[derive(Debug)]
pub struct Observer {
    child: Child,
    seen: Receiver<Seen>,
    expected: usize,
}

impl Observer {
    /// Starts one that connects to `address`, which leads to `server`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(server: &Server, address: SocketAddr, expected: usize) -> Result<Self> {
        let own = std::env::current_exe().context("this program's own path is unknown")?;
        let mut command = Command::new(own);
        command.args([
            "observe",
            "--address",
            &format!("https://{address}"),
            "--node",
            NODE,
        ]);
        command
            .arg("--root-cert")
            .arg(&server.root_cert)
            .arg("--token")
            .arg(&server.token);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start an observer")?;
        let stdout = child.stdout.take().context("the observer has no output")?;
        let (sender, seen) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else {
                    continue;
                };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            seen,
            expected,
        })
    }

    /// Waits until it has everything; returns the seconds that it took.
    ///
    /// # Errors
    /// It has ended or needs longer than `limit`.
    pub fn synced(&mut self, limit: Duration) -> Result<f64> {
        let (deadline, mut last) = (Instant::now() + limit, 0);
        while let Ok(seen) = self
            .seen
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            last = seen.workloads;
            if seen.synced && last >= self.expected {
                return Ok(seen.elapsed);
            }
        }
        bail!(
            "after {limit:?} the client has {last} of {} workloads",
            self.expected
        )
    }

    /// Waits for the next update; returns when it was applied, in seconds since 1970.
    ///
    /// # Errors
    /// It has ended or nothing arrives in time.
    pub fn updated(&mut self, limit: Duration) -> Result<f64> {
        let seen = self
            .seen
            .recv_timeout(limit)
            .with_context(|| format!("no update arrived within {limit:?}"))?;
        Ok(seen.at)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // One that has ended by itself is only reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
