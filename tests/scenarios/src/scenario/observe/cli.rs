//! The `warren` command against the lab.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{LIMIT, run};
use crate::scenario::Registry;
use crate::scenario::policy::may_connect;
use crate::world::{CLIENT_A, Ip, OTHER_A, SERVER_B, World, eventually, manifests, need, port};

/// Each view and a text that it must show in this lab.
const VIEWS: [(&str, &str); 8] = [
    ("status", "ztunnel"),
    ("workloads", "server-b"),
    ("services", "web-headless"),
    ("policies", "deny-other"),
    ("certs", "spiffe://cluster.local/ns/shop/sa/server"),
    ("connections", "15008"),
    ("maps", "verdicts"),
    ("config", "15012"),
];

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    for (view, text) in VIEWS {
        add.one(&format!("cli/{view}"), move |world| {
            shows(world, view, text)
        });
    }
    add.one("cli/log-level", log_level);
    add.one("cli/check", check);
    add.one("cli/check-without-capabilities", check_without_capabilities);
    add.one("cli/of-a-node", of_a_node);
    add.one("cli/bad-arguments", bad_arguments);
    add.one("bad-object-is-skipped-and-listed", bad_object);
}

fn shows(world: &World, view: &str, text: &str) -> Result<()> {
    let _policy = world.apply("policies/deny-other.yaml")?;
    let at = world.at(SERVER_B, Ip::V4, port::ECHO)?.to_string();
    let _busy = world.start_peer(CLIENT_A, &["stream", &at, "--seconds", "20"], true)?;
    let wanted = if view == "connections" {
        world.ip(SERVER_B, Ip::V4)?.to_string()
    } else {
        text.to_owned()
    };
    eventually(Duration::from_secs(5), || {
        for format in ["table", "json", "yaml"] {
            let shown = world.lab.warren(&[view, "-o", format])?.ok()?;
            ensure!(
                shown.contains(&wanted),
                "`warren {view} -o {format}` does not show {wanted}: {shown:.500}"
            );
            if format == "json" {
                serde_json::from_str::<Value>(&shown)
                    .with_context(|| format!("`warren {view} -o json`"))?;
            }
        }
        Ok(())
    })
}

fn log_level(world: &World) -> Result<()> {
    let before = world.lab.warren(&["log-level"])?.ok()?;
    ensure!(before.contains("info"), "`warren log-level` shows {before}");
    world
        .lab
        .warren(&["log-level", "debug", "--from", "ztunnel"])?
        .ok()?;
    let during = world.lab.warren(&["log-level"])?.ok()?;
    world
        .lab
        .warren(&["log-level", "info", "--from", "ztunnel"])?
        .ok()?;
    ensure!(
        during.contains("debug"),
        "after `warren log-level debug` it shows {during}"
    );
    let misspelt = world.lab.warren(&["log-level", "loud"])?;
    ensure!(
        !misspelt.status.success() && misspelt.stderr.contains("`loud` is no level"),
        "a level that is none: {misspelt}"
    );
    ensure!(
        world.lab.warren(&["log-level"])?.ok()? == before,
        "a level that is none changed something"
    );
    Ok(())
}

/// What `warren check` looks at, in this order.
const CHECKS: [&str; 15] = [
    "capabilities",
    "kernel",
    "BTF",
    "connect hooks",
    "sockops hook",
    "socket option hooks",
    "socket lookup",
    "network namespace cookies",
    "socket maps",
    "ring buffer",
    "ending live flows",
    "BPF JIT",
    "IPv6",
    "cgroup v2",
    "bpffs",
];

fn check(world: &World) -> Result<()> {
    let shown = world.lab.warren(&["check", "-o", "json"])?.ok()?;
    let findings: Vec<Value> = serde_json::from_str(&shown)?;
    let names: Vec<&str> = findings
        .iter()
        .filter_map(|f| f["check"].as_str())
        .collect();
    ensure!(
        names.starts_with(&CHECKS),
        "`warren check` looks at {names:?}, expected {CHECKS:?}"
    );
    for finding in findings.iter().take(CHECKS.len()) {
        let text = |field: &str| finding[field].as_str().unwrap_or_default();
        let fits = match text("result") {
            "pass" => !text("found").is_empty(),
            // Without the JIT, say: the node works.
            "warn" => !text("remedy").is_empty(),
            _ => false,
        };
        ensure!(fits, "on a node that works: {finding}");
    }
    let table = world.lab.warren(&["check"])?.ok()?;
    for name in CHECKS {
        ensure!(
            table.lines().any(|l| l.starts_with(name)),
            "`warren check` says nothing about {name}: {table}"
        );
    }
    ensure!(table.contains("This machine can be a node"), "{table}");
    Ok(())
}

/// In a container that may do too little it says so and what to do, and fails.
fn check_without_capabilities(world: &World) -> Result<()> {
    need(&["setpriv"])?;
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--bounding-set", "-all", "--inh-caps", "-all"])
        .arg(world.lab.program("warren"))
        .arg("--run-dir")
        .arg(world.lab.dir().join("nodes/a/run"))
        .arg("check");
    let done = run(command, LIMIT)?;
    ensure!(
        done.status.code() == Some(1),
        "expected exit status 1: {done}"
    );
    let line = done.stdout.lines().find(|l| l.starts_with("capabilities"));
    let line = line.with_context(|| format!("no line on capabilities: {done}"))?;
    for word in ["FAIL", "CAP_BPF", "missing", "give them to the agent"] {
        ensure!(line.contains(word), "the line has no {word}: {line}");
    }
    ensure!(
        done.stdout
            .contains("This machine cannot be a node yet: 1 of"),
        "{done}"
    );
    Ok(())
}

/// On a node there is no lab to name, only the directory of the sockets.
fn of_a_node(world: &World) -> Result<()> {
    for node in ["a", "b"] {
        let dir = world.lab.dir().join(format!("nodes/{node}/run"));
        let mut command = std::process::Command::new(world.lab.program("warren"));
        command.arg("--run-dir").arg(dir).arg("workloads");
        let shown = run(command, LIMIT)?.ok()?;
        ensure!(
            shown.contains("server-b"),
            "`warren --run-dir` on node {node} shows {shown:.500}"
        );
    }
    Ok(())
}

fn bad_arguments(world: &World) -> Result<()> {
    for argv in [
        &["nothing"][..],
        &["status", "-o", "xml"],
        &["workloads", "--no-such-flag"],
    ] {
        let done = world.lab.warren(argv)?;
        ensure!(
            done.status.code() == Some(2),
            "expected exit status 2: {done}"
        );
    }
    Ok(())
}

/// One bad object in a file: the other one in it works, and `warren status` tells of the bad one.
fn bad_object(world: &World) -> Result<()> {
    let file = manifests().join("bad/policies.yaml");
    world.lab.apply(&file)?.ok()?;
    let result = eventually(Duration::from_secs(5), || {
        ensure!(
            !may_connect(world, OTHER_A, SERVER_B, Ip::V4, port::GREET)?,
            "the sound policy beside a broken one has no effect"
        );
        ensure!(
            may_connect(world, CLIENT_A, SERVER_B, Ip::V4, port::GREET)?,
            "a broken policy denied everything"
        );
        let shown = world.lab.warren(&["status"])?.ok()?;
        for word in ["broken", "PERHAPS", "shop", ".yaml"] {
            ensure!(
                shown.contains(word),
                "`warren status` does not mention {word}: {shown}"
            );
        }
        let shown = world.lab.warren(&["check"])?.ok()?;
        ensure!(
            shown.contains("AuthorizationPolicy shop/broken") && shown.contains("PERHAPS"),
            "`warren check` does not name the broken policy and its reason: {shown}"
        );
        Ok(())
    });
    world.lab.delete(&file)?.ok()?;
    result?;
    eventually(Duration::from_secs(5), || {
        let shown = world.lab.warren(&["status"])?.ok()?;
        ensure!(
            !shown.contains("PERHAPS"),
            "the warning stays after the object is gone"
        );
        Ok(())
    })
}
