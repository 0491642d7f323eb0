//! A hand-written client of our tunnel.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::Registry;
use super::{Peer, events, finish, refs};
use crate::world::{Ip, SERVER_B, World, eventually, port};

const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/server";

/// Adds the scenarios of a stock client.
pub fn register(add: &mut Registry) {
    add.both("client/streams", streams);
    add.both("client/classic-groups", |w, ip| {
        once(w, ip, "--groups classic").map(drop)
    });
    add.one("client/p256-only", |w| {
        once(w, Ip::V4, "--groups p256").map(drop)
    });
    add.both("client/application-sees-the-client", greeted);
    add.one("client/without-headers", |w| {
        once(
            w,
            Ip::V4,
            "--header baggage= --header forwarded= --header traceparent=",
        )
        .map(drop)
    });
    add.both("client/statuses", statuses);
    add.both("client/denied-by-policy", denied);
    add.both("client/certificates", certificates);
    add.both("client/alpn", |w, ip| {
        once(
            w,
            ip,
            "--alpn http/1.1 --expect alert:NoApplicationProtocol --expect reset",
        )
        .map(drop)?;
        once(w, ip, "--alpn none --expect closed --expect reset").map(drop)
    });
    add.one("client/told-before-a-restart", restarted);
    add.long(|add| add.one("client/kept-alive", kept_alive));
}

/// Options of a connect to server-b.
fn options(world: &World, ip: Ip, authority_port: u16) -> Result<Vec<String>> {
    let at = world.at(SERVER_B, ip, 15008)?;
    let authority = world.at(SERVER_B, ip, authority_port)?;
    let words = [
        "connect",
        "--to",
        &at.to_string(),
        "--authority",
        &authority.to_string(),
    ]
    .map(str::to_owned);
    Ok(words.into())
}

fn run(world: &World, argv: Vec<String>, credentials: &[String], more: &str) -> Result<Vec<Value>> {
    let peer = Peer::new(world)?;
    let more: Vec<String> = more.split_whitespace().map(str::to_owned).collect();
    let argv = [argv, credentials.to_vec(), more].concat();
    peer.on_node("outside", &refs(&argv))
}

fn once(world: &World, ip: Ip, more: &str) -> Result<Vec<Value>> {
    let peer = Peer::new(world)?;
    run(
        world,
        options(world, ip, port::ECHO)?,
        &peer.credentials()?,
        more,
    )
}

fn streams(world: &World, ip: Ip) -> Result<()> {
    let more = format!("--streams 20 --bytes 300000 --ping --expect-peer {SERVER}");
    let lines = once(world, ip, &more)?;
    let tls = events(&lines, "tls")[0];
    ensure!(
        tls["group"] == "X25519MLKEM768",
        "the tunnel chose {}",
        tls["group"]
    );
    for answer in events(&lines, "response") {
        let baggage = answer["fields"]["baggage"].as_str().unwrap_or_default();
        for part in [
            "k8s.namespace.name=shop",
            "k8s.pod.name=server-b",
            "service.name=server",
        ] {
            ensure!(
                baggage.contains(part),
                "the answer's baggage {baggage:?} lacks {part}"
            );
        }
    }
    Ok(())
}

fn greeted(world: &World, ip: Ip) -> Result<()> {
    let peer = Peer::new(world)?;
    let lines = run(
        world,
        options(world, ip, port::GREET)?,
        &peer.credentials()?,
        "--mode read",
    )?;
    let said = events(&lines, "stream")[0]["text"].to_string();
    let own = super::OUTSIDE[usize::from(ip == Ip::V6)];
    ensure!(
        said.contains(own),
        "the application did not see {own}: {said}"
    );
    Ok(())
}

/// 400 for what cannot be, 503 for what is not there.
fn statuses(world: &World, ip: Ip) -> Result<()> {
    let peer = Peer::new(world)?;
    let credentials = peer.credentials()?;
    let own = world.at(SERVER_B, ip, port::ECHO)?.ip();
    let authority = |ip: &str, port: u16| {
        if ip.contains(':') {
            format!("[{ip}]:{port}")
        } else {
            format!("{ip}:{port}")
        }
    };
    let own = own.to_string();
    let elsewhere = if ip == Ip::V4 {
        ["10.1.2.3", "127.0.0.1"]
    } else {
        ["fd00:1::3", "::1"]
    };
    for (name, status) in [
        (authority(&own, 1), 503),
        (authority(&own, 15001), 503),
        (authority(&own, 15006), 503),
        (authority(&own, 15008), 503),
        (authority(elsewhere[0], 80), 400),
        (authority(elsewhere[1], port::ECHO), 400),
        ("without-a-port".to_owned(), 400),
    ] {
        let mut argv = options(world, ip, port::ECHO)?;
        argv[4].clone_from(&name);
        run(
            world,
            argv,
            &credentials,
            &format!("--expect status:{status}"),
        )
        .with_context(|| format!("CONNECT {name}"))?;
    }
    Ok(())
}

fn denied(world: &World, ip: Ip) -> Result<()> {
    let applied = world.apply("policies/deny-other.yaml")?;
    let told = eventually(Duration::from_secs(2), || {
        once(world, ip, "--expect status:401")
    });
    drop(applied);
    told?;
    eventually(Duration::from_secs(2), || once(world, ip, "")).map(drop)
}

/// Each is refused, and the log says why.
fn certificates(world: &World, ip: Ip) -> Result<()> {
    let peer = Peer::new(world)?;
    let log = world.lab.dir().join("nodes/b/log/ztunnel.log");
    for (fault, reason) in [
        ("expired", "expired"),
        ("not-yet-valid", "not_yet_valid"),
        ("self-signed", "unknown_issuer"),
        ("other-trust-domain", "wrong_trust_domain"),
        ("no-uri", "no_identity"),
        ("two-uris", "no_identity"),
        ("not-spiffe", "no_identity"),
        ("dns-only", "no_identity"),
    ] {
        let before = std::fs::read_to_string(&log)?.len();
        let argv = options(world, ip, port::ECHO)?;
        run(
            world,
            argv,
            &peer.forged(fault),
            "--expect alert --expect reset --expect closed",
        )
        .with_context(|| format!("a certificate that is {fault}"))?;
        says(&log, before, fault, reason)?;
    }
    let none = ["--root-cert".to_owned(), peer.root()];
    let before = std::fs::read_to_string(&log)?.len();
    run(
        world,
        options(world, ip, port::ECHO)?,
        &none,
        "--expect alert:CertificateRequired --expect reset",
    )?;
    says(&log, before, "no certificate", "missing_client_certificate")?;
    run(
        world,
        options(world, ip, port::ECHO)?,
        &peer.forged("good"),
        "",
    )
    .map(drop)
}

/// The log has a line with the reason among those that are new.
fn says(log: &Path, before: usize, fault: &str, reason: &str) -> Result<()> {
    eventually(Duration::from_secs(2), || {
        let text = std::fs::read_to_string(log)?;
        let said = text.get(before..).unwrap_or_default();
        ensure!(
            said.contains(&format!("reason=\"{reason}\"")),
            "{fault}: the log says {said:?}"
        );
        Ok(())
    })
}

/// A stream that is open when the tunnel is stopped in good order hears of it by GOAWAY, and may end by itself.
fn restarted(world: &World) -> Result<()> {
    let peer = Peer::new(world)?;
    let mut argv = options(world, Ip::V4, port::ECHO)?;
    argv.extend(peer.credentials()?);
    argv.extend(["--hold", "3"].map(str::to_owned));
    let mut client = peer.start("outside", &refs(&argv))?;
    for _ in 0..2 {
        client.line(Duration::from_secs(10))?;
    }
    world.lab.restart("ztunnel", "b", false)?;
    let lines = finish(client, Duration::from_secs(20))?;
    let told = events(&lines, "goaway");
    ensure!(!told.is_empty(), "no GOAWAY came: {lines:?}");
    ensure!(told.iter().all(|g| g["code"] == "NO_ERROR"), "{told:?}");
    eventually(Duration::from_secs(10), || once(world, Ip::V4, "")).map(drop)
}

fn kept_alive(world: &World) -> Result<()> {
    let lines = once(world, Ip::V4, "--hold 25")?;
    let pings = events(&lines, "pings")
        .first()
        .map(|p| p["answered"].clone());
    ensure!(
        pings.as_ref().and_then(Value::as_u64) >= Some(2),
        "PINGs in 25 s: {pings:?}"
    );
    Ok(())
}
