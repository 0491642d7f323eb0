//! Joining the mesh, and what the two sides then know of each other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::peer::StreamReport;
use crate::scenario::interception::is_direct;
use crate::scenario::protocols::{PYTHON, on_both_nodes, shared_dir};
use crate::world::{CLIENT_A, Ip, SERVER_A, SERVER_B, World, eventually, parse, port};

/// Labels the namespaces while a connection goes on.
pub fn label(world: &World) -> Result<Vec<String>> {
    let at = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    let mut held = world.start_peer(CLIENT_A, &["stream", &at, "--seconds", "3"], true)?;
    let begin = Instant::now();
    for namespace in ["shop", "other"] {
        world
            .lab
            .lab(&["label", "namespace", namespace, "warren.dev/mesh=enabled"])?
            .ok()?;
    }
    eventually(Duration::from_secs(10), || {
        ensure!(
            !is_direct(world, CLIENT_A, SERVER_B, Ip::V4)?,
            "{CLIENT_A} is not captured"
        );
        Ok(())
    })?;
    let took = begin.elapsed();
    held.wait(Duration::from_secs(10))?;
    let report: StreamReport = parse(&held.rest())?;
    ensure!(report.ok, "the connection from before broke: {report:?}");
    Ok(vec![
        format!(
            "new connections of {CLIENT_A} are captured {} ms after the label was set",
            took.as_millis()
        ),
        format!(
            "a connection from before went on: {} messages, longest pause {} ms",
            report.messages, report.max_gap_ms
        ),
    ])
}

/// Addresses and identities.
pub fn who(world: &World) -> Result<Vec<String>> {
    let name = format!("web-b.shop.svc.cluster.local:{}", port::GREET);
    let outcome = world.greet(CLIENT_A, &name, Ip::V4)?;
    let local = outcome.local.context("no getsockname()")?;
    let seen = outcome.greeting.context("the server said nothing")?;
    let accepted = seen.accept.ip().to_canonical();
    ensure!(
        accepted == local.ip() && seen.accept.port() == local.port(),
        "accept() gave {}",
        seen.accept
    );
    ensure!(
        outcome.peer == outcome.asked,
        "getpeername() gave {:?}",
        outcome.peer
    );
    let certs: Vec<Value> = serde_json::from_str(
        &world
            .lab
            .warren(&["--node", "a", "certs", "-o", "json"])?
            .ok()?,
    )?;
    let text = |c: &Value| c.to_string();
    let client = "spiffe://cluster.local/ns/shop/sa/client";
    ensure!(
        certs.iter().any(|c| text(c).contains(client)),
        "no certificate of {client}"
    );
    let asked = outcome.asked.map(|a| a.to_string()).unwrap_or_default();
    Ok(vec![
        format!("the client asked for the Service at {asked}, and its getpeername() says so"),
        format!(
            "the server's accept() gave {accepted}:{}, which is the client's own socket",
            local.port()
        ),
        format!(
            "node a holds {} certificates, one of them for {client}",
            certs.len()
        ),
    ])
}

/// HTTP and Redis between nodes and on one node.
pub fn programs(world: &World) -> Result<Vec<String>> {
    let (_keep, dir) = shared_dir()?;
    std::fs::write(dir.join("page.txt"), "hello from a page")?;
    let dir = dir.to_string_lossy();
    let http = [
        PYTHON,
        "-m",
        "http.server",
        "--protocol",
        "HTTP/1.1",
        "--bind",
        "::",
        "-d",
        &dir,
        "9001",
    ];
    on_both_nodes(world, Ip::V4, 9001, &http, |server| {
        let url = format!("http://{}/page.txt", server.at());
        server.client_says(&["curl", "-sS", "-m", "10", &url], "hello from a page")
    })?;
    let redis = [
        "redis-server",
        "--port",
        "9010",
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
        "--save",
        "",
        "--dir",
        &dir,
    ];
    on_both_nodes(world, Ip::V4, 9010, &redis, |server| {
        let host = server.host.to_string();
        server.client_says(
            &[
                "redis-cli",
                "-h",
                &host,
                "-p",
                "9010",
                "SET",
                "key",
                "value",
            ],
            "OK",
        )?;
        server.client_says(
            &["redis-cli", "-h", &host, "-p", "9010", "GET", "key"],
            "value",
        )
    })?;
    Ok(vec![format!(
        "curl and redis-cli in {CLIENT_A} reach http.server and redis-server in {SERVER_A} and {SERVER_B}"
    )])
}
