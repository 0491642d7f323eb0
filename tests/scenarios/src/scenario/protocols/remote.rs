//! Servers that speak first (SSH, SMTP), and iperf3 with its many connections.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{PYTHON, on_both_nodes, program};
use crate::process::{LIMIT, run};
use crate::scenario::Registry;
use crate::world::{Ip, World, need};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("ssh", ssh);
    add.both("smtp", smtp);
    add.both("iperf3", iperf3);
}

fn ssh(world: &World, ip: Ip) -> Result<()> {
    need(&["ssh", "ssh-keygen"])?;
    // Authorized keys are read only from a directory that root alone can change.
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (host_key, user_key) = (dir.path().join("host"), dir.path().join("user"));
    for key in [&host_key, &user_key] {
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key);
        run(make, LIMIT)?.ok()?;
    }
    let (host_key, user_key) = (host_key.to_string_lossy(), user_key.to_string_lossy());
    let keys = format!("AuthorizedKeysFile={user_key}.pub");
    let options = [
        "-o",
        &keys,
        "-o",
        "StrictModes=no",
        "-o",
        "UsePAM=no",
        "-o",
        "PermitRootLogin=yes",
        "-o",
        "PidFile=none",
    ];
    let argv = [
        &[
            "/usr/sbin/sshd",
            "-D",
            "-e",
            "-f",
            "/dev/null",
            "-p",
            "9020",
            "-h",
            &host_key,
        ][..],
        &options,
    ]
    .concat();
    on_both_nodes(world, ip, 9020, &argv, |server| {
        let to = format!("root@{}", server.host);
        let quiet = [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
        ];
        let login = [
            &[
                "ssh",
                "-F",
                "/dev/null",
                "-i",
                &user_key,
                "-p",
                "9020",
                "-o",
                "ConnectTimeout=10",
            ][..],
            &quiet,
        ]
        .concat();
        let argv = [&login[..], &[&to, "echo", "from the other side"]].concat();
        server.client_says(&argv, "from the other side")
    })
}

fn smtp(world: &World, ip: Ip) -> Result<()> {
    let script = program("smtp.py");
    on_both_nodes(
        world,
        ip,
        9021,
        &[PYTHON, &script, "serve", "9021"],
        |server| {
            let host = server.host.to_string();
            server.client_says(&[PYTHON, &script, "check", &host, "9021"], "smtp ok")
        },
    )
}

fn iperf3(world: &World, ip: Ip) -> Result<()> {
    need(&["iperf3"])?;
    on_both_nodes(world, ip, 9022, &["iperf3", "-s", "-p", "9022"], |server| {
        let host = server.host.to_string();
        for direction in [&[][..], &["-R"]] {
            let argv = [
                &[
                    "iperf3", "-c", &host, "-p", "9022", "-P", "8", "-t", "1", "-J",
                ][..],
                direction,
            ]
            .concat();
            let report: Value =
                serde_json::from_str(&server.client(&argv)?).context("iperf3 printed no JSON")?;
            let bytes = report["end"]["sum_received"]["bytes"]
                .as_f64()
                .unwrap_or_default();
            ensure!(bytes > 1e6, "eight streams moved {bytes} bytes in a second");
        }
        Ok(())
    })
}
