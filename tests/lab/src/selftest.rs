//! `selftest`: the lab tried by itself, without the mesh.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::commands::INTERRUPTED;
use crate::lab::{Lab, UpOptions};
use crate::paths;

/// Arguments of `selftest`.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// Leave the lab up afterwards
    #[arg(long)]
    keep: bool,
}

const MANIFEST: &str = include_str!("selftest.yaml");

/// A step: its name and what it does.
type Step = (&'static str, fn(&Lab) -> Result<()>);

const STEPS: [Step; 11] = [
    ("pods reach pods by address", by_address),
    ("pods reach Services by address, v4 and v6", by_service),
    ("pods reach Services by name", by_name),
    ("a headless Service names its pods", headless),
    ("a Service without endpoints refuses", refused),
    ("unknown names do not exist", unknown_names),
    ("endpoints follow readiness", readiness),
    ("a failed liveness probe restarts the container", liveness),
    (
        "exec passes input, output, status and the pod's environment on",
        exec,
    ),
    ("no container begins with a signal blocked", signals),
    ("a Deployment is scaled", scale),
];

/// `lab selftest`.
pub fn command(args: &SelftestArgs) -> Result<ExitCode> {
    let binary = Some(std::env::current_exe()?);
    let options = UpOptions {
        mesh: false,
        keep: args.keep,
        binary,
        ..UpOptions::default()
    };
    let lab = Lab::up_text(MANIFEST, &options)?;
    let mut failed = 0;
    for (name, step) in STEPS {
        match step(&lab) {
            Ok(()) => println!("ok      {name}"),
            Err(error) => {
                failed += 1;
                println!("FAILED  {name}: {error:#}");
                println!(
                    "        enter the lab: cargo xtask lab selftest --keep, then cargo xtask lab exec -n shop client -- bash"
                );
            }
        }
    }
    let mut steps = STEPS.len();
    if !args.keep {
        lab.down()?;
        let ends: [(&str, Result<()>); 2] = [
            ("down leaves nothing", nothing_left()),
            ("an interrupted up leaves nothing", interrupted()),
        ];
        steps += ends.len();
        for (name, result) in ends {
            match result {
                Ok(()) => println!("ok      {name}"),
                Err(error) => {
                    failed += 1;
                    println!("FAILED  {name}: {error:#}");
                }
            }
        }
    }
    println!("{} passed, {failed} failed, 0 skipped", steps - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn addresses(lab: &Lab, namespace: &str, prefix: &str) -> Result<Vec<String>> {
    let table = lab.ps()?;
    let rows = table["pods"].as_array().cloned().unwrap_or_default();
    let of = |r: &&serde_json::Value| {
        r["namespace"] == namespace && r["name"].as_str().is_some_and(|n| n.starts_with(prefix))
    };
    let lists = rows
        .iter()
        .filter(of)
        .filter_map(|r| r["addresses"].as_str());
    Ok(lists
        .flat_map(|l| l.split(',').map(str::to_owned))
        .collect())
}

fn fetch(lab: &Lab, url: &str) -> Result<String> {
    lab.exec("shop", "client", &["curl", "-gsS", "-m", "5", url])
        .ok()
}

fn bracket(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

fn by_address(lab: &Lab) -> Result<()> {
    let all = addresses(lab, "shop", "web-")?;
    ensure!(all.len() == 4, "two dual-stack pods have {all:?}");
    for address in all {
        let answer = fetch(lab, &format!("http://{}:8080/", bracket(&address)))?;
        ensure!(answer.starts_with("web-"), "{address} answered {answer:?}");
    }
    Ok(())
}

fn by_service(lab: &Lab) -> Result<()> {
    let yaml = std::fs::read_to_string(lab.paths.api().join("service_shop_web.yaml"))?;
    let service: serde_json::Value = serde_saphyr::from_str(&yaml)?;
    let vips = service["spec"]["clusterIPs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(vips.len() == 2, "the Service has {vips:?}");
    for vip in vips.iter().filter_map(|v| v.as_str()) {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..30 {
            seen.insert(fetch(lab, &format!("http://{}/", bracket(vip)))?);
        }
        ensure!(seen.len() == 2, "30 requests to {vip} met {seen:?}");
    }
    Ok(())
}

fn by_name(lab: &Lab) -> Result<()> {
    for name in ["web", "web.shop", "web.shop.svc.cluster.local"] {
        for family in ["-4", "-6"] {
            let answer = lab
                .exec(
                    "shop",
                    "client",
                    &["curl", family, "-sS", "-m", "5", &format!("http://{name}/")],
                )
                .ok()?;
            ensure!(answer.starts_with("web-"), "{name} answered {answer:?}");
        }
    }
    Ok(())
}

fn headless(lab: &Lab) -> Result<()> {
    let answer = fetch(lab, "http://db-1.db.shop.svc.cluster.local:8080/")?;
    ensure!(answer == "db-1", "db-1 answered {answer:?}");
    let all = lab
        .exec(
            "shop",
            "client",
            &["getent", "ahosts", "db.shop.svc.cluster.local"],
        )
        .ok()?;
    for address in addresses(lab, "shop", "db-")? {
        ensure!(all.contains(&address), "{address} is not in {all}");
    }
    Ok(())
}

fn refused(lab: &Lab) -> Result<()> {
    let output = lab.exec(
        "shop",
        "client",
        &["curl", "-sS", "-m", "5", "http://empty/"],
    );
    ensure!(
        output.status == 7,
        "curl ended with {}: {}",
        output.status,
        output.stderr
    );
    Ok(())
}

fn unknown_names(lab: &Lab) -> Result<()> {
    let output = lab.exec(
        "shop",
        "client",
        &["getent", "hosts", "nope.shop.svc.cluster.local"],
    );
    ensure!(output.status == 2, "exit status {}", output.status);
    Ok(())
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) -> Result<()> {
    for _ in 0..150 {
        if check() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    bail!("{what} did not happen within 15 s")
}

fn readiness(lab: &Lab) -> Result<()> {
    lab.exec("shop", "db-0", &["touch", "/run/unready"]).ok()?;
    let gone = addresses(lab, "shop", "db-0")?;
    let all = || {
        lab.exec(
            "shop",
            "client",
            &["getent", "ahosts", "db.shop.svc.cluster.local"],
        )
        .stdout
    };
    eventually("removal of an endpoint", || {
        !gone.iter().any(|a| all().contains(a))
    })?;
    lab.exec("shop", "db-0", &["rm", "/run/unready"]).ok()?;
    eventually("return of an endpoint", || {
        gone.iter().all(|a| all().contains(a))
    })
}

fn liveness(lab: &Lab) -> Result<()> {
    let restarts = || {
        let table = lab.ps().unwrap_or_default();
        let rows = table["pods"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .find(|r| r["name"] == "db-0")
            .and_then(|r| r["restarts"].as_u64())
            .unwrap_or(0)
    };
    ensure!(restarts() == 0, "restarted before");
    lab.exec("shop", "db-0", &["touch", "/run/dead"]).ok()?;
    eventually("a restart", || restarts() > 0)?;
    lab.exec("shop", "db-0", &["rm", "/run/dead"]).ok()?;
    lab.wait_ready(30).map(drop)
}

fn exec(lab: &Lab) -> Result<()> {
    let output = lab.exec(
        "shop",
        "client",
        &["sh", "-c", "echo out; echo err >&2; exit 7"],
    );
    ensure!(
        output.status == 7 && output.stdout == "out\n" && output.stderr == "err\n",
        "{output:?}"
    );
    let seen = lab
        .exec(
            "shop",
            "client",
            &[
                "sh",
                "-c",
                "echo $GREETING $POD_IP $(hostname) $(cat /proc/self/cgroup | grep ^0)",
            ],
        )
        .ok()?;
    let own = addresses(lab, "shop", "client")?;
    ensure!(
        seen.trim() == format!("hello {} client 0::/", own[0]),
        "{seen:?}"
    );
    ensure!(
        lab.exec("shop", "nobody", &["true"]).status == 1,
        "a missing pod is an error"
    );
    Ok(())
}

fn scale(lab: &Lab) -> Result<()> {
    let deployment = |replicas: u32| {
        let text = MANIFEST
            .split("---")
            .find(|d| d.contains("kind: Deployment"))
            .unwrap_or_default();
        text.replace("replicas: 2", &format!("replicas: {replicas}"))
    };
    for replicas in [4, 1] {
        lab.apply(&deployment(replicas))?;
        let want = 2 * usize::try_from(replicas)?;
        eventually("scaling", || {
            addresses(lab, "shop", "web-").is_ok_and(|a| a.len() == want)
        })?;
        lab.wait_ready(30)?;
    }
    Ok(())
}

/// Else nothing in the lab would end in good order.
fn signals(lab: &Lab) -> Result<()> {
    let script = "for p in $(cat /sys/fs/cgroup/cgroup.procs); do grep -s SigBlk /proc/$p/status; done; true";
    let open = |line: &str| line.split_whitespace().nth(1) == Some("0000000000000000");
    // A process that is about to start another one blocks signals for that moment.
    eventually("a look that finds no signal blocked", || {
        let masks = lab.exec("shop", "client", &["sh", "-c", script]).ok();
        masks.is_ok_and(|m| m.lines().any(open) && m.lines().all(open))
    })
}

/// Ctrl-C at several moments of `up`: it takes away what there is by then, unless all was up already.
fn interrupted() -> Result<()> {
    let program = std::env::current_exe()?;
    let mut taken_away = 0;
    for after in [20, 60, 120, 250] {
        let mut up = Command::new(&program)
            .args(["up", "--without-mesh"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_millis(after));
        kill(Pid::from_raw(up.id().try_into()?), Signal::SIGINT)?;
        let status = up.wait()?;
        if status.success() {
            Command::new(&program).arg("down").output()?;
        }
        taken_away += usize::from(status.code() == Some(INTERRUPTED));
        nothing_left().with_context(|| format!("after {after} ms"))?;
    }
    ensure!(taken_away > 0, "no interruption found `up` at work");
    Ok(())
}

fn nothing_left() -> Result<()> {
    let spaces = crate::netns::list("warren-");
    ensure!(spaces.is_empty(), "network namespaces {spaces:?}");
    ensure!(
        !std::path::Path::new(paths::ROOT).exists(),
        "{} is still there",
        paths::ROOT
    );
    ensure!(!crate::cgroup::lab()?.exists(), "the cgroup is still there");
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    ensure!(!mounts.contains("warren-lab"), "a mount is still there");
    Ok(())
}
