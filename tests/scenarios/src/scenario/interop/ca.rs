//! The CA, asked as a stock shared tunnel asks.

use anyhow::{Result, ensure};

use super::super::Registry;
use super::{IDENTITY, Peer, events};
use crate::world::World;

/// Adds the CA's scenarios.
pub fn register(add: &mut Registry) {
    add.one("ca/stock-request", stock);
    for (name, options, expected) in [
        ("no-name", "--csr-uri none", "INVALID_ARGUMENT"),
        (
            "other-name",
            "--csr-uri spiffe://cluster.local/ns/shop/sa/server",
            "INVALID_ARGUMENT",
        ),
        (
            "two-names",
            "--csr-uri spiffe://cluster.local/ns/other/sa/server --csr-uri spiffe://cluster.local/ns/shop/sa/server",
            "INVALID_ARGUMENT",
        ),
        ("no-request", "--csr-text garbage", "INVALID_ARGUMENT"),
    ] {
        add.one(&format!("ca/refuses-{name}"), move |w| {
            refused(w, options, expected)
        });
    }
}

fn stock(world: &World) -> Result<()> {
    let peer = Peer::new(world)?;
    let token = peer.token(&["--node", "b", "--aud", "istio-ca"])?;
    let argv = ["--token", &token, "--identity", IDENTITY, "--ttl", "60"];
    let lines = peer.controller("cert", &argv)?;
    let life = events(&lines, "cert")[0]["chain"][0]["life_seconds"]
        .as_i64()
        .unwrap_or_default();
    ensure!(
        (60..=200).contains(&life),
        "asked for 60 s, the certificate lives {life} s"
    );
    Ok(())
}

fn refused(world: &World, options: &str, expected: &str) -> Result<()> {
    let peer = Peer::new(world)?;
    let token = peer.token(&["--node", "b"])?;
    let mut argv = vec![
        "--token",
        &token,
        "--identity",
        IDENTITY,
        "--expect",
        expected,
    ];
    argv.extend(options.split(' '));
    peer.controller("cert", &argv).map(drop)
}
