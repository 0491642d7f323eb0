//! Our tunnel as the client of a hand-written one. The pod behind it runs on a node that has no agent of ours: an object
//! in the API whose addresses are those of the namespace outside the cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::Registry;
use super::{IDENTITY, OUTSIDE, Peer, events, read, refs};
use crate::process::Running;
use crate::world::{CLIENT_A, Ip, World, eventually};

const LIMIT: Duration = Duration::from_secs(10);

/// Adds the scenarios of a stock server.
pub fn register(add: &mut Registry) {
    add.both("server/streams", streams);
    add.both("server/classic-groups", |w, ip| {
        let lines = served(w, ip, "--groups classic", |to| connect(w, to, true))?;
        ensure!(
            events(&lines, "tls")[0]["group"] == "X25519",
            "{:?}",
            events(&lines, "tls")
        );
        Ok(())
    });
    add.one("server/few-streams", |w| {
        served(w, Ip::V4, "--max-streams 2", |to| many(w, to, 8)).map(drop)
    });
    add.one("server/goaway", |w| {
        served(w, Ip::V4, "--goaway-after 1", |to| {
            (0..4).try_for_each(|_| connect(w, to, true))
        })
        .map(drop)
    });
    add.one("server/goaway-in-one-step", |w| {
        served(w, Ip::V4, "--goaway-after 1 --goaway-abrupt", |to| {
            many(w, to, 4)
        })
        .map(drop)
    });
    add.both("server/refuses-401", |w, ip| refused(w, ip, "--status 401"));
    add.both("server/refuses-503", |w, ip| refused(w, ip, "--status 503"));
    add.both("server/other-identity", |w, ip| {
        forged(w, ip, "good", "spiffe://cluster.local/ns/shop/sa/client")
    });
    for fault in ["other-trust-domain", "expired", "self-signed"] {
        add.both(&format!("server/{fault}"), move |w, ip| {
            forged(w, ip, fault, IDENTITY)
        });
    }
}

/// The API object of the stock pod; gone when dropped.
struct StockPod(PathBuf);

impl StockPod {
    fn create(world: &World) -> Result<Self> {
        let addresses: Vec<Value> = OUTSIDE.iter().map(|ip| json!({"ip": ip})).collect();
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "stock", "namespace": "other", "uid": "5e0c0a52-0000-4000-8000-00000000a11c"},
            "spec": {"nodeName": "stock", "serviceAccountName": "server", "containers": [{"name": "app", "image": "host"}]},
            "status": {"phase": "Running", "podIP": OUTSIDE[0], "podIPs": addresses,
                "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let dir = world.lab.dir();
        let (part, file) = (
            dir.join("stock-pod.part"),
            dir.join("api/pod_other_stock.yaml"),
        );
        std::fs::write(&part, pod.to_string()).context("cannot write the stock pod")?;
        std::fs::rename(&part, &file).context("cannot put the stock pod into the API")?;
        let pod = Self(file);
        let own = world.lab.dir().join("nodes/a/run/ztunnel-admin.sock");
        eventually(LIMIT, || {
            let known = super::super::input::admin(world, "a", "ztunnel", "/workloads")?;
            ensure!(
                known.contains("other/stock") || known.contains("\"stock\""),
                "{} lacks other/stock",
                own.display()
            );
            Ok(())
        })?;
        Ok(pod)
    }
}

impl Drop for StockPod {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Starts the raw server outside, does something, and returns what the server saw; its checks must hold.
fn served(
    world: &World,
    ip: Ip,
    more: &str,
    act: impl FnOnce(&str) -> Result<()>,
) -> Result<Vec<Value>> {
    let peer = Peer::new(world)?;
    with(world, &peer, ip, &peer.credentials()?, more, act)
}

fn with(
    world: &World,
    peer: &Peer<'_>,
    ip: Ip,
    credentials: &[String],
    more: &str,
    act: impl FnOnce(&str) -> Result<()>,
) -> Result<Vec<Value>> {
    let bracketed = |port: u16| match ip {
        Ip::V4 => format!("{}:{port}", OUTSIDE[0]),
        Ip::V6 => format!("[{}]:{port}", OUTSIDE[1]),
    };
    let mut argv = vec!["serve".to_owned(), "--listen".into(), bracketed(15008)];
    argv.extend_from_slice(credentials);
    argv.extend(more.split_whitespace().map(str::to_owned));
    let mut server = peer.start("outside", &refs(&argv))?;
    server.line(LIMIT).context("the raw server did not start")?;
    let _pod = StockPod::create(world)?;
    let acted = act(&bracketed(8080));
    let lines = stopped(&mut server)?;
    acted.with_context(|| format!("the server saw {lines:?}"))?;
    let faults: Vec<&Value> = lines
        .iter()
        .filter(|l| l["faults"].as_array().is_some_and(|f| !f.is_empty()))
        .collect();
    ensure!(
        faults.is_empty(),
        "a stock tunnel would not take this: {faults:?}"
    );
    Ok(lines)
}

fn stopped(server: &mut Running) -> Result<Vec<Value>> {
    // What it printed is complete once the last stream ended; it would serve on.
    std::thread::sleep(Duration::from_millis(200));
    server.stop(LIMIT)?;
    read(&server.rest())
}

fn connect(world: &World, to: &str, well: bool) -> Result<()> {
    let outcome = world.try_connect(CLIENT_A, to, &["--bytes", "200000"])?;
    ensure!(outcome.ok == well, "{to}: {}", crate::world::told(&outcome));
    Ok(())
}

/// Several connections at once, all of which must hold.
fn many(world: &World, to: &str, count: usize) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(world.start_peer(CLIENT_A, &["connect", to, "--bytes", "200000"], false)?);
    }
    for mut client in clients {
        let status = client.wait(LIMIT)?;
        ensure!(status.success(), "{}", client.rest());
    }
    Ok(())
}

fn streams(world: &World, ip: Ip) -> Result<()> {
    let lines = served(world, ip, "--ping 0.2", |to| {
        many(world, to, 12)?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    })?;
    let requests = events(&lines, "request");
    ensure!(
        requests.len() == 12,
        "{} requests for 12 connections",
        requests.len()
    );
    // Each thread of the tunnel has its own.
    let tunnels = events(&lines, "tls").len();
    let threads = std::thread::available_parallelism()?.get();
    ensure!(
        tunnels <= threads,
        "12 connections of one pod took {tunnels} tunnels on {threads} threads"
    );
    let client = world.ip(CLIENT_A, ip)?.to_string();
    for request in requests {
        let fields = &request["fields"];
        let baggage = fields["baggage"].as_str().unwrap_or_default();
        ensure!(
            baggage.contains("k8s.pod.name=client-a"),
            "baggage is {baggage:?}"
        );
        let forwarded = fields["forwarded"].as_str().unwrap_or_default();
        ensure!(
            forwarded.contains(&client),
            "forwarded is {forwarded:?}, the client {client}"
        );
        ensure!(fields["traceparent"].is_string(), "no traceparent");
    }
    ensure!(
        events(&lines, "pong").len() >= 2,
        "PINGs were not answered: {lines:?}"
    );
    let peer = &events(&lines, "tls")[0]["peer"][0];
    ensure!(
        *peer == "spiffe://cluster.local/ns/shop/sa/client",
        "the tunnel is {peer}"
    );
    Ok(())
}

fn refused(world: &World, ip: Ip, more: &str) -> Result<()> {
    served(world, ip, more, |to| connect(world, to, false)).map(drop)
}

/// A server that is not who it should be gets no request.
fn forged(world: &World, ip: Ip, fault: &str, identity: &str) -> Result<()> {
    let peer = Peer::new(world)?;
    let mut credentials = peer.forged(fault);
    credentials.extend(["--forge-id".to_owned(), identity.to_owned()]);
    let lines = with(world, &peer, ip, &credentials, "", |to| {
        connect(world, to, false)
    })?;
    ensure!(
        events(&lines, "request").is_empty(),
        "it got a request: {lines:?}"
    );
    Ok(())
}
