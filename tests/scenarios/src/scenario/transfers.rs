//! Bytes arrive, all of them, in order, in both directions, however the connection is used and left.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Registry;
use super::interception::is_direct;
use crate::lab::Pod;
use crate::peer::{IdleReport, LeaveReport};
use crate::world::{CLIENT_A, Ip, SERVER_A, SERVER_B, World, eventually, port, told};

const MIB: u64 = 1 << 20;

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("one-byte", |w, ip| everywhere(w, ip, |at| at.echo(1)));
    add.both("nothing", |w, ip| everywhere(w, ip, |at| at.echo(0)));
    add.both("a-megabyte-and-one", |w, ip| {
        everywhere(w, ip, |at| at.echo(MIB + 1))
    });
    add.both("client-closes-its-half-first", |w, ip| {
        everywhere(w, ip, |at| at.sink(100_000))
    });
    add.both("server-closes-its-half-first", |w, ip| {
        everywhere(w, ip, |at| at.half_close())
    });
    add.both("download-256-mib", |w, ip| {
        once(w, ip, |at| at.source(256 * MIB))
    });
    add.both("upload-256-mib", |w, ip| {
        once(w, ip, |at| at.sink(256 * MIB))
    });
    add.both("connect-and-leave", |w, ip| {
        everywhere(w, ip, |at| at.leave(200))
    });
    add.both("idle-200", |w, ip| idle(w, ip, SERVER_B, 200, 8));
    add.one("gibibyte/v4", |w| gibibyte(w, Ip::V4));
    add.long(|add| {
        add.one("gibibyte/v6", |w| gibibyte(w, Ip::V6));
        add.both("idle-1000", |w, ip| idle(w, ip, SERVER_B, 1000, 240));
        add.both("idle-1000-direct", |w, ip| {
            eventually(Duration::from_secs(5), || {
                ensure!(is_direct(w, CLIENT_A, SERVER_A, ip)?, "no direct flow");
                Ok(())
            })?;
            idle(w, ip, SERVER_A, 1000, 120)
        });
    });
}

/// One client and one server.
struct At<'a> {
    world: &'a World,
    ip: Ip,
    to: Pod,
}

/// The same on one node and across nodes; the direct path is taken from the second connection on.
fn everywhere(world: &World, ip: Ip, check: impl Fn(&At) -> Result<()>) -> Result<()> {
    once(world, ip, &check)?;
    once(world, ip, &check)
}

/// On one node, then across nodes.
fn once(world: &World, ip: Ip, check: impl Fn(&At) -> Result<()>) -> Result<()> {
    [SERVER_A, SERVER_B]
        .into_iter()
        .try_for_each(|to| check(&At { world, ip, to }))
}

impl At<'_> {
    fn echo(&self, bytes: u64) -> Result<()> {
        self.run(port::ECHO, "echo", bytes, &[])
    }

    fn sink(&self, bytes: u64) -> Result<()> {
        self.run(port::SINK, "sink", bytes, &[])
    }

    fn source(&self, bytes: u64) -> Result<()> {
        self.run(port::SOURCE, "source", bytes, &[])
    }

    fn half_close(&self) -> Result<()> {
        let report = port::REPORT.to_string();
        self.run(
            port::HALF_CLOSE,
            "half-close",
            100_000,
            &["--report-port", &report],
        )
    }

    fn leave(&self, count: usize) -> Result<()> {
        let (at, count_text) = (self.address(port::ECHO)?, count.to_string());
        for how in [&[][..], &["--reset"]] {
            let argv = [&["leave", &at, "--count", &count_text][..], how].concat();
            let (done, report): (_, LeaveReport) = self.world.peer(CLIENT_A, &argv)?;
            ensure!(
                report.ok,
                "{} of {count} connections to {}: {done}",
                report.connected,
                self.to
            );
        }
        self.echo(1000)
    }

    fn run(&self, port: u16, mode: &str, bytes: u64, more: &[&str]) -> Result<()> {
        let (at, bytes) = (self.address(port)?, bytes.to_string());
        let argv = [
            &[
                "connect",
                &at,
                "--mode",
                mode,
                "--bytes",
                &bytes,
                "--timeout-ms",
                "20000",
            ][..],
            more,
        ]
        .concat();
        let limit = Duration::from_secs(120);
        let (_, outcome): (_, crate::peer::Outcome) =
            self.world.peer_within(CLIENT_A, &argv, limit)?;
        ensure!(
            outcome.ok,
            "{CLIENT_A} to {}: {mode} of {bytes} bytes: {}",
            self.to,
            told(&outcome)
        );
        Ok(())
    }

    fn address(&self, port: u16) -> Result<String> {
        Ok(self.world.at(self.to, self.ip, port)?.to_string())
    }
}

fn gibibyte(world: &World, ip: Ip) -> Result<()> {
    once(world, ip, |at| {
        at.source(1024 * MIB)?;
        at.sink(1024 * MIB)
    })
}

fn idle(world: &World, ip: Ip, to: Pod, count: usize, seconds: u64) -> Result<()> {
    let at = world.at(to, ip, port::ECHO)?.to_string();
    let (count_text, seconds_text) = (count.to_string(), seconds.to_string());
    let argv = [
        "idle",
        &at,
        "--count",
        &count_text,
        "--seconds",
        &seconds_text,
    ];
    let limit = Duration::from_secs(seconds + 60);
    let (done, report): (_, IdleReport) = world.peer_within(CLIENT_A, &argv, limit)?;
    ensure!(
        report.ok,
        "{} opened, {} alive after {seconds} s: {done}",
        report.opened,
        report.alive
    );
    Ok(())
}
