//! Redis and PostgreSQL.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::User;

use super::{on_both_nodes, shared_dir};
use crate::process::{LIMIT, run};
use crate::scenario::Registry;
use crate::world::{Ip, Skip, World, need};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("redis", redis);
    add.both("postgresql", postgresql);
}

fn redis(world: &World, ip: Ip) -> Result<()> {
    need(&["redis-server", "redis-cli"])?;
    let (_keep, dir) = shared_dir()?;
    let dir = dir.to_string_lossy();
    let bind = if ip == Ip::V4 { "0.0.0.0" } else { "::" };
    let argv = [
        "redis-server",
        "--port",
        "9010",
        "--bind",
        bind,
        "--protected-mode",
        "no",
        "--save",
        "",
        "--dir",
        &dir,
    ];
    on_both_nodes(world, ip, 9010, &argv, |server| {
        let host = server.host.to_string();
        let cli = |rest: &[&str]| {
            let argv = [&["redis-cli", "-h", &host, "-p", "9010"][..], rest].concat();
            server.client(&argv)
        };
        ensure!(
            cli(&["SET", "key", "value"])?.trim() == "OK",
            "SET was not answered with OK"
        );
        ensure!(
            cli(&["GET", "key"])?.trim() == "value",
            "GET did not give the value"
        );
        let pipelined = "for i in $(seq 500); do echo INCR counter; done | redis-cli -h \"$0\" -p 9010 | tail -1";
        let counter = server.client(&["sh", "-c", pipelined, &host])?;
        ensure!(
            counter.trim() == "500",
            "500 pipelined INCR gave {counter:?}"
        );
        cli(&["DEL", "counter"]).map(drop)
    })
}

fn postgresql(world: &World, ip: Ip) -> Result<()> {
    need(&["psql", "setpriv"])?;
    let bin = server_programs()?;
    let (_keep, dir) = shared_dir()?;
    let data = dir.join("data");
    let data = data.to_string_lossy();
    make_database(&bin, &data)?;
    let (server, sockets) = (bin.join("postgres"), dir.to_string_lossy());
    let (server, sockets) = (
        server.to_string_lossy(),
        format!("unix_socket_directories={sockets}"),
    );
    let argv = [
        &as_postgres()[..],
        &[
            &server, "-D", &data, "-h", "*", "-p", "9011", "-c", &sockets,
        ],
    ]
    .concat();
    on_both_nodes(world, ip, 9011, &argv, |server| {
        let host = server.host.to_string();
        let query = |sql: &str| {
            server.client(&[
                "psql", "-h", &host, "-p", "9011", "-U", "postgres", "-XtAc", sql,
            ])
        };
        // The port listens a moment before the server takes queries.
        crate::world::eventually(LIMIT / 3, || query("select 1"))?;
        ensure!(
            query("select 6 * 7")?.trim() == "42",
            "a query gave something else"
        );
        let rows = query("select repeat('x', 1000) from generate_series(1, 2000)")?;
        ensure!(
            rows.len() == 2000 * 1001,
            "2000 rows of 1000 letters gave {} bytes",
            rows.len()
        );
        Ok(())
    })
}

/// Directory of the newest PostgreSQL server programs.
fn server_programs() -> Result<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path().join("bin"))
        .filter(|p| p.join("initdb").exists())
        .collect();
    versions.sort();
    let Some(bin) = versions.pop() else {
        bail!(Skip("no PostgreSQL server is installed".into()))
    };
    if User::from_name("postgres")?.is_none() {
        bail!(Skip("there is no user postgres".into()));
    }
    Ok(bin)
}

/// The server refuses to run as root.
fn as_postgres() -> [&'static str; 4] {
    [
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--init-groups",
    ]
}

fn make_database(bin: &std::path::Path, data: &str) -> Result<()> {
    let [program, rest @ ..] = as_postgres();
    let mut initdb = Command::new(program);
    initdb
        .args(rest)
        .arg(bin.join("initdb"))
        .args(["-D", data, "-A", "trust", "--no-sync"])
        .current_dir("/");
    run(initdb, LIMIT)?.ok()?;
    let rules = "local all all trust\nhost all all 0.0.0.0/0 trust\nhost all all ::0/0 trust\n";
    std::fs::write(format!("{data}/pg_hba.conf"), rules).context("cannot write pg_hba.conf")
}
