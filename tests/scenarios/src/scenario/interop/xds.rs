//! Delta xDS by hand: what a stock tunnel relies on.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::Registry;
use super::{Peer, finish, text};
use crate::world::{Ip, SERVER_B, World, eventually};

const LIMIT: Duration = Duration::from_secs(30);
const POD: &str = "Kubernetes//Pod/shop/server-a";
const SERVICE: &str = "shop/web.shop.svc.cluster.local";

/// Adds the xDS scenarios.
pub fn register(add: &mut Registry) {
    add.one("xds/wildcard", wildcard);
    add.both("xds/on-demand", on_demand);
    add.one("xds/reconnect", reconnect);
    add.one("xds/reconnect-large", reconnect_large);
    add.one("xds/refused-response", nack);
    add.one("xds/no-token", |w| refused(w, None));
    add.one("xds/wrong-audience", |w| {
        refused(w, Some(&["--node", "b", "--aud", "else"]))
    });
    add.one("xds/policy-before-address", |w| {
        policy(
            w,
            "policies/deny-other-on-node-a.yaml",
            &format!("contains:address:{POD}=shop/deny-other-on-node-a"),
        )
    });
    add.one("xds/strict-as-deny", |w| {
        policy(
            w,
            "policies/strict.yaml",
            "any:authorization:\"not_principals\":[{\"presence\":{}}]",
        )
    });
    add.one("xds/audit-as-dry-run", |w| {
        policy(
            w,
            "policies/audit-all.yaml",
            "any:authorization:\"dry_run\":true",
        )
    });
}

fn run(world: &World, steps: &[&str]) -> Result<()> {
    let peer = Peer::new(world)?;
    let token = peer.token(&["--node", "b"])?;
    let first = ["--token", &token, "--node", "b"];
    peer.controller("xds", &[&first, steps].concat()).map(drop)
}

fn wildcard(world: &World) -> Result<()> {
    let pod = format!("present:address:{POD}");
    let service = format!("present:address:{SERVICE}");
    let hbone = format!("contains:address:{POD}=\"tunnel_protocol\":\"HBONE\"");
    let node = format!("contains:address:{POD}=\"node\":\"a\"");
    let member = format!("contains:address:{POD}={SERVICE}");
    let plain = "contains:address:Kubernetes//Pod/plain/client-a=\"plain\"";
    run(
        world,
        &[
            "start",
            "synced",
            "empty:authorization",
            "quiet:0.5",
            &pod,
            &service,
            &hbone,
            &node,
            &member,
            plain,
        ],
    )
}

/// Every kind of name is answered under that very name, unknown ones as removed.
fn on_demand(world: &World, ip: Ip) -> Result<()> {
    let (pod, gone) = match ip {
        Ip::V4 => (world.ip(SERVER_B, ip)?, "/10.99.99.99"),
        Ip::V6 => (world.ip(SERVER_B, ip)?, "/fd00:99::99"),
    };
    let names = [format!("/{pod}"), SERVICE.to_owned(), POD.to_owned()];
    let unknown = [
        gone,
        "shop/nothing.shop.svc.cluster.local",
        "Kubernetes//Pod/shop/nothing",
    ];
    let mut steps = vec![
        "start-on-demand".to_owned(),
        "synced".into(),
        "empty:authorization".into(),
    ];
    for name in &names {
        steps.extend([
            format!("subscribe:address:{name}"),
            format!("present:address:{name}"),
        ]);
    }
    for name in unknown {
        steps.extend([
            format!("subscribe:address:{name}"),
            format!("removed:address:{name}"),
        ]);
    }
    steps.push("absent:address:Kubernetes//Pod/plain/client-a".into());
    steps.extend([format!("unsubscribe:address:/{pod}"), "quiet:0.3".into()]);
    steps.extend(["reconnect".to_owned(), "synced".into()]);
    run(world, &super::refs(&steps))
}

/// After a reconnect only what changed comes again, and what vanished is named.
fn reconnect(world: &World) -> Result<()> {
    let outdated = format!("outdated:address:{POD}");
    let unversioned = format!("unversioned:address:{SERVICE}");
    let stale = [
        "stale:address:Kubernetes//Pod/shop/long-gone",
        "removed:address:Kubernetes//Pod/shop/long-gone",
    ];
    let policy = [
        "stale:authorization:shop/long-gone",
        "removed:authorization:shop/long-gone",
    ];
    run(
        world,
        &[
            "start",
            "synced",
            "quiet:0.3",
            stale[0],
            policy[0],
            &outdated,
            &unversioned,
            "reconnect",
            "synced",
            stale[1],
            policy[1],
            "quiet:0.3",
            "resent:address:2",
            "resent:authorization:0",
            "reconnect",
            "synced",
            "quiet:0.3",
            "resent:address:0",
        ],
    )
}

/// One message names 60,000 resources: a tunnel of a large mesh comes back with as many.
fn reconnect_large(world: &World) -> Result<()> {
    run(
        world,
        &[
            "start",
            "synced",
            "quiet:0.3",
            "stale-many:address:60000",
            "reconnect",
            "synced",
            "removed:address:gone/0",
            "removed:address:gone/59999",
            "quiet:0.3",
            "resent:address:0",
        ],
    )
}

fn nack(world: &World) -> Result<()> {
    run(
        world,
        &[
            "nack:address",
            "start",
            "synced",
            "quiet:0.5",
            "subscribe:address:/10.99.99.98",
            "removed:address:/10.99.99.98",
        ],
    )
}

fn refused(world: &World, token: Option<&[&str]>) -> Result<()> {
    let peer = Peer::new(world)?;
    let file = token.map(|options| peer.token(options)).transpose()?;
    let mut argv = vec![
        "--node",
        "b",
        "--expect",
        "UNAUTHENTICATED",
        "start",
        "synced",
    ];
    if let Some(file) = &file {
        argv.extend(["--token", file]);
    }
    peer.controller("xds", &argv).map(drop)
}

/// A policy comes, and goes, while a tunnel listens; the client itself checks the order.
fn policy(world: &World, manifest: &str, seen: &str) -> Result<()> {
    let peer = Peer::new(world)?;
    let token = peer.token(&["--node", "b"])?;
    let (ready, there, gone) = (peer.path("ready"), peer.path("there"), peer.path("gone"));
    let touch = |file: &std::path::Path| format!("touch:{}", text(file));
    let wait = format!("wait-file:{}", text(&gone));
    let (ready_step, there_step) = (touch(&ready), touch(&there));
    let first = ["--token", &token, "--node", "b", "--limit", "15"];
    let steps = [
        "start",
        "synced",
        "empty:authorization",
        &ready_step,
        seen,
        &there_step,
        &wait,
        "none:authorization",
    ];
    let client = peer.start_at_controller("xds", &[&first[..], &steps].concat())?;
    let exists = |file: &std::path::Path| {
        eventually(LIMIT / 2, || {
            ensure!(
                file.exists(),
                "the client has not come to {}",
                file.display()
            );
            Ok(())
        })
    };
    let result = exists(&ready).and_then(|()| {
        let applied = world.apply(manifest)?;
        let result = exists(&there);
        drop(applied);
        result
    });
    std::fs::write(&gone, "")?;
    let told = finish(client, LIMIT);
    result.and(told.map(drop)).and(Ok(()))
}
