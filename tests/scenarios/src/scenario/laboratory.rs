//! What a person relies on who tries the mesh in the lab.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Registry;
use crate::process::{Done, LIMIT, run};
use crate::world::{CLIENT_A, Ip, SERVER_A, World, eventually, manifests, port};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.one("exec-passes-the-exit-status-on", exit_status);
    add.one("a-second-lab-is-refused", second_lab);
    add.one("bad-arguments", bad_arguments);
    add.one("what-is-not-there-is-named", not_there);
    add.one("network-namespaces-have-names", names);
    add.one("cp-copies-both-ways", copies);
    add.one("logs-show-what-was-written", logs);
    add.one("a-bad-document-leaves-the-others", bad_document);
}

fn exit_status(world: &World) -> Result<()> {
    for status in [0, 7, 42] {
        let done = world
            .lab
            .exec(CLIENT_A, &["sh", "-c", &format!("exit {status}")])?;
        ensure!(
            done.status.code() == Some(status),
            "expected exit status {status}: {done}"
        );
    }
    Ok(())
}

fn second_lab(world: &World) -> Result<()> {
    let done = world.lab.lab(&["up", "--nodes", "c"])?;
    ensure!(
        !done.status.success() && done.stderr.contains("is up already"),
        "a second `up`: {done}"
    );
    world.lab.exec(CLIENT_A, &["true"])?.ok().map(drop)
}

fn bad_arguments(world: &World) -> Result<()> {
    for argv in [
        &["nothing"][..],
        &["exec"],
        &["restart", "nobody"],
        &["up", "--nodes", "A b"],
    ] {
        let done = world.lab.lab(argv)?;
        let one_line = done.stderr.trim().lines().count() == 1;
        ensure!(
            done.status.code() == Some(2) && one_line,
            "expected one line and exit status 2: {done}"
        );
    }
    Ok(())
}

/// Words of a person who mistook a name, and what the answer must have.
const MISTAKEN: &[(&[&str], &str)] = &[
    (
        &["exec", "-n", "shop", "nobody", "--", "true"],
        "no pod nobody in namespace shop; it has: client-a",
    ),
    (
        &["exec", "server-a", "--", "true"],
        "there is one in shop: try `-n shop`",
    ),
    (
        &["exec", "-n", "nowhere", "client", "--", "true"],
        "there is no such namespace",
    ),
    (
        &[
            "exec", "-n", "shop", "client-a", "-c", "other", "--", "true",
        ],
        "pod/client-a in shop has the containers client",
    ),
    (&["logs", "-n", "shop", "nobody"], "no pod nobody"),
    (&["cp", "/etc/hosts", "shop/nobody:/x"], "no pod nobody"),
    (
        &["cp", "/etc/hosts", "/dev/null"],
        "write NAMESPACE/POD:PATH",
    ),
    (&["node", "z", "--", "true"], "there is no node z"),
    (
        &["restart", "agent", "--node", "z"],
        "there is no node z: `lab ps` lists all",
    ),
    (
        &["apply", "-f", "/no/such/file"],
        "cannot read /no/such/file",
    ),
    (&["apply", "-f", "/dev/null"], "there is no object"),
    (&["label", "pod", "nobody", "a=b"], "pod/nobody not found"),
    (&["ps", "--name", "other"], "the lab that is up is called"),
];

fn not_there(world: &World) -> Result<()> {
    for (argv, expected) in MISTAKEN {
        // Without the name of the lab, as a person would.
        let mut command = std::process::Command::new(world.lab.program("warren-lab"));
        command.args(*argv);
        let done = run(command, LIMIT)?;
        ensure!(
            done.status.code() == Some(1)
                && done.stderr.trim().lines().count() == 1
                && done.stderr.contains(expected),
            "`lab {}`: expected {expected:?}: {done}",
            argv.join(" ")
        );
    }
    Ok(())
}

/// `ip netns` shows every pod and node.
fn names(world: &World) -> Result<()> {
    let list = std::fs::read_dir("/run/netns")?.flatten();
    let known: Vec<String> = list
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    for wanted in ["shop-client-a", "plain-server-b", "node-a", "node-b"] {
        let name = format!("warren-{}-{wanted}", crate::lab::NAME);
        ensure!(known.contains(&name), "no {name} among {known:?}");
    }
    let own = world.ip(CLIENT_A, Ip::V4)?.to_string();
    let name = format!("warren-{}-shop-client-a", crate::lab::NAME);
    let mut command = std::process::Command::new("ip");
    command.args(["-n", &name, "-o", "-4", "address"]);
    let shown = run(command, LIMIT)?.ok()?;
    ensure!(shown.contains(&own), "{name} does not have {own}: {shown}");
    Ok(())
}

fn copies(world: &World) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (out, back) = (dir.path().join("out"), dir.path().join("back"));
    std::fs::write(&out, [0, 255, b'\n', 7])?;
    let there = "shop/client-a:/run/copied";
    let (out, back) = (out.to_string_lossy(), back.to_string_lossy());
    world.lab.lab(&["cp", &out, there])?.ok()?;
    world.lab.lab(&["cp", there, &back])?.ok()?;
    ensure!(
        std::fs::read(&*back)? == [0, 255, b'\n', 7],
        "`lab cp` changed the file"
    );
    Ok(())
}

fn logs(world: &World) -> Result<()> {
    let at = world.at(SERVER_A, Ip::V4, port::ECHO)?.to_string();
    let client = world.connect(CLIENT_A, &at, &[])?.local;
    // The server's socket is of both families, and shows a mapped address.
    let client = client.context("no getsockname()")?;
    let client = format!("{}]:{}", client.ip(), client.port());
    eventually(Duration::from_secs(5), || {
        let shown = world.lab.lab(&["logs", "-n", "shop", "server-a"])?.ok()?;
        ensure!(shown.contains(&client), "the server's lines lack {client}");
        Ok(())
    })?;
    let shown = world.lab.lab(&["logs", "--node", "a", "agent"])?.ok()?;
    ensure!(!shown.is_empty(), "the agent wrote nothing");
    Ok(())
}

/// As with kubectl: what is good of a file is in force, what is bad is named, and the exit status says so. `warren status` names the
/// person's own file and lines until they are corrected.
fn bad_document(world: &World) -> Result<()> {
    let file = manifests().join("bad/mixed.yaml");
    let done = world.lab.apply(&file)?;
    let result = named(world, &done);
    world.lab.delete(&file)?;
    result?;
    eventually(Duration::from_secs(5), || {
        let shown = world.lab.warren(&["status"])?.ok()?;
        ensure!(
            !shown.contains("mixed.yaml"),
            "warnings stay after the file was deleted: {shown}"
        );
        Ok(())
    })
}

fn named(world: &World, done: &Done) -> Result<()> {
    for created in [
        "serviceaccount/before in shop created",
        "serviceaccount/behind in shop created",
    ] {
        ensure!(done.stdout.contains(created), "no {created:?}: {done}");
    }
    for line in [
        "mixed.yaml:9: malformed",
        "mixed.yaml:11: authorizationpolicy/misspelt in shop: ",
        "mixed.yaml:21: serviceaccount/Behind in shop: ",
    ] {
        ensure!(done.stderr.contains(line), "no {line:?}: {done}");
    }
    ensure!(
        done.status.code() == Some(1),
        "expected exit status 1: {done}"
    );
    eventually(Duration::from_secs(5), || {
        let shown = world.lab.warren(&["status"])?.ok()?;
        for place in ["mixed.yaml:9", "mixed.yaml:11", "mixed.yaml:21"] {
            ensure!(
                shown.contains(place),
                "`warren status` does not name {place}: {shown}"
            );
        }
        Ok(())
    })
}
