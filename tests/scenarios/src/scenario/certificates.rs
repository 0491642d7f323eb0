//! Certificates renew without anybody noticing, and the CA gives them only to those who may have them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::input::admin;
use super::protocols::{PYTHON, program};
use super::{Registry, Suite};
use crate::peer::StreamReport;
use crate::process::{LIMIT, run};
use crate::world::{CLIENT_A, FAMILIES, SERVER_A, SERVER_B, Skip, World, parse, port};

const CONTROLLER: &str = "172.18.0.1:15012";
const OWN_NODE: &str = "spiffe://cluster.local/ns/other/sa/server";

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("ca/right-token", |w| {
        answered(w, OWN_NODE, &["--node", "b"], "OK")
    });
    add.one("ca/no-token", |w| {
        asked(w, OWN_NODE, "-", "UNAUTHENTICATED")
    });
    add.one("ca/garbage-token", |w| {
        asked(w, OWN_NODE, "not.a.token", "UNAUTHENTICATED")
    });
    add.one("ca/wrong-audience", |w| {
        answered(
            w,
            OWN_NODE,
            &["--node", "b", "--aud", "somebody-else"],
            "UNAUTHENTICATED",
        )
    });
    add.one("ca/expired-token", |w| {
        answered(
            w,
            OWN_NODE,
            &["--node", "b", "--exp", "-60"],
            "UNAUTHENTICATED",
        )
    });
    add.one("ca/no-such-pod-on-that-node", |w| {
        answered(w, OWN_NODE, &["--node", "a"], "PERMISSION_DENIED")
    });
    add.one("ca/unknown-account", |w| {
        answered(
            w,
            "spiffe://cluster.local/ns/shop/sa/nobody",
            &["--node", "a"],
            "PERMISSION_DENIED",
        )
    });
    add.one("ca/another-trust-domain", |w| {
        answered(
            w,
            "spiffe://elsewhere.example/ns/other/sa/server",
            &["--node", "b"],
            "INVALID_ARGUMENT",
        )
    });
    add.one("ca/token-of-an-application", |w| {
        let token = [
            "-n", "other", "--sa", "server", "--node", "b", "--pod", "server-b",
        ];
        answered(
            w,
            "spiffe://cluster.local/ns/shop/sa/server",
            &token,
            "PERMISSION_DENIED",
        )
    });
    add.in_suite(Suite::ShortCertificates, |add| {
        add.one("renewal-under-live-connections", renewal)
    });
}

/// Mints a token with the lab and asks with it.
fn answered(world: &World, identity: &str, token: &[&str], expected: &str) -> Result<()> {
    let argv = [&["token"][..], token].concat();
    let token = world.lab.lab(&argv)?.ok()?;
    asked(world, identity, token.trim(), expected)
}

fn asked(world: &World, identity: &str, token: &str, expected: &str) -> Result<()> {
    let mut probe = Command::new(PYTHON);
    probe.args(["-c", "import grpc"]);
    if !run(probe, LIMIT).is_ok_and(|done| done.status.success()) {
        bail!(Skip("python3-grpcio is not installed".into()));
    }
    let root = world.lab.dir().join("nodes/a/run/root-cert.pem");
    let argv = [
        PYTHON,
        &program("ca.py"),
        CONTROLLER,
        &root.to_string_lossy(),
        identity,
        token,
    ];
    let said = world.lab.node("a", &argv)?.ok()?;
    let status = said.split_whitespace().next().unwrap_or_default();
    ensure!(
        status == expected,
        "expected {expected}, the CA said {said:?}"
    );
    Ok(())
}

/// Connections live on while every certificate under them is replaced, and past the first one's end. On both nodes no certificate is
/// kept for much longer than half of its life: renewal at its end leaves no time for a controller that is away.
fn renewal(world: &World) -> Result<()> {
    let mut streams = Vec::new();
    for to in [SERVER_A, SERVER_B] {
        for ip in FAMILIES {
            let at = world.at(to, ip, port::ECHO)?.to_string();
            streams.push(world.start_peer(CLIENT_A, &["stream", &at, "--seconds", "33"], true)?);
        }
    }
    let mut kept = Vec::new();
    for node in ["a", "b"] {
        kept.push((node, Kept::new(serials(world, node)?)));
    }
    let begin = Instant::now();
    // Whatever is kept for too long is so within a whole life and half of another.
    while begin.elapsed() < Duration::from_secs(30) {
        world.connect(
            CLIENT_A,
            &world.at(SERVER_B, FAMILIES[0], port::ECHO)?.to_string(),
            &[],
        )?;
        for (node, kept) in &mut kept {
            kept.look(&serials(world, node)?)
                .with_context(|| format!("on node {node}"))?;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    for mut stream in streams {
        stream.wait(LIMIT)?;
        let report: StreamReport = parse(&stream.rest())?;
        ensure!(
            report.ok && report.max_gap_ms < 1000,
            "a connection noticed the renewal: {report:?}"
        );
    }
    Ok(())
}

/// A certificate of 20 s is due between 8 s and 12 s (a tenth of its life is chance); the rest is for fetching it, and for looking.
const KEPT_AT_MOST: Duration = Duration::from_secs(14);

/// Serial numbers by identity, and since when each has been there.
struct Kept(BTreeMap<String, (String, Instant)>);

impl Kept {
    fn new(serials: BTreeMap<String, String>) -> Self {
        let now = Instant::now();
        Self(
            serials
                .into_iter()
                .map(|(identity, serial)| (identity, (serial, now)))
                .collect(),
        )
    }

    /// Each identity still has a certificate, and none is older than it may be.
    fn look(&mut self, serials: &BTreeMap<String, String>) -> Result<()> {
        for (identity, (serial, since)) in &mut self.0 {
            let now = serials
                .get(identity)
                .with_context(|| format!("{identity} has no certificate any more"))?;
            if now != serial {
                (*serial, *since) = (now.clone(), Instant::now());
            }
            ensure!(
                since.elapsed() < KEPT_AT_MOST,
                "the certificate of {identity} was not renewed within {KEPT_AT_MOST:?} of a 20 s life"
            );
        }
        Ok(())
    }
}

/// Serial numbers of the certificates that a node's tunnel holds, by identity.
fn serials(world: &World, node: &str) -> Result<BTreeMap<String, String>> {
    let certs: Vec<Value> = serde_json::from_str(&admin(world, node, "ztunnel", "/certs")?)?;
    let valid = certs.iter().filter(|c| c["state"] == "valid");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let found: BTreeMap<_, _> = valid
        .map(|c| (text(&c["identity"]), text(&c["serial"])))
        .collect();
    ensure!(
        !found.is_empty(),
        "the tunnel of node {node} has no valid certificate: {certs:?}"
    );
    Ok(found)
}
