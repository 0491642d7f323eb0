//! `test`: format, lints, generated files, unit tests, licences, kernel programs, scenarios in the lab, a smoke of the mesh on Kubernetes.

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::build::{EVERYTHING, UNIT_TESTS};
use crate::run::{binary, cargo, root, run, target};
use crate::tally::Tally;
use crate::{build, cgroup, deny, generate, setup};

mod cluster;

/// What the lab and its scenarios run.
const BINARIES: [&str; 10] = [
    "warren",
    "warren-agent",
    "warren-cni",
    "warren-control",
    "warren-interop",
    "warren-kernels",
    "warren-lab",
    "warren-peer",
    "warren-scenarios",
    "warren-ztunnel",
];

/// Scenarios that depend on where cgroups are: capture, the kubelet's probes, an agent that comes back.
const V2_ONLY: [&str; 4] = [
    "capture/second-connection-is-direct",
    "addresses/same-node-pod-ip",
    "services/probes-work-under-strict-and-deny",
    "kill/agent-killed-under-load",
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also the long soaks
    #[arg(long)]
    long: bool,
    /// Only scenarios whose name has this in it; no lints, no unit tests
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// No scenarios in the lab (no root needed)
    #[arg(long)]
    unit: bool,
    /// Only the test cluster, with every end-to-end suite of the mesh on it
    #[arg(long, conflicts_with_all = ["long", "only", "unit"])]
    cluster: bool,
    /// Only the smoke of the test cluster: it comes up, works, runs the mesh, and leaves nothing
    #[arg(long, conflicts_with_all = ["long", "only", "unit", "cluster"])]
    cluster_smoke: bool,
    /// Everything but the smoke of the test cluster (no Go needed)
    #[arg(long, conflicts_with_all = ["cluster", "cluster_smoke"])]
    no_cluster: bool,
}

/// Runs everything; the last line counts it.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.unit {
        crate::run::need_root("cargo xtask test")?;
    }
    let began = Instant::now();
    let mut tally = Tally::default();
    if args.cluster || args.cluster_smoke {
        cluster::run_on(&mut tally, args.cluster)?;
        if args.cluster {
            tally.program(&mut with_api_server())?;
        }
    } else {
        setup::all()?;
        everything_else(&mut tally, args)?;
    }
    println!("took {} s", began.elapsed().as_secs());
    println!("{}", tally.closing());
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn everything_else(tally: &mut Tally, args: &Args) -> anyhow::Result<()> {
    if args.only.is_none() {
        checks(tally);
        tally.program(cargo_test().arg("--no-fail-fast"))?;
    }
    if !args.unit {
        lab(tally, args)?;
    }
    if args.only.is_none() && !args.unit && !args.no_cluster {
        cluster::run_on(tally, false)?;
        tally.made_up_for(&mut with_api_server())?;
    }
    Ok(())
}

/// What needs no test program.
fn checks(tally: &mut Tally) {
    tally.step("format", run(cargo().args(["fmt", "--all", "--check"])));
    let lints = run(cargo()
        .args(["clippy", "--release", "--locked", "--config", UNIT_TESTS])
        .args(EVERYTHING)
        .args(["--all-targets", "--quiet", "--", "-D", "warnings"]));
    tally.step("lints", lints);
    tally.step(
        "generated files are current",
        generate::command(&generate::Args { check: true }).map(drop),
    );
    match deny::check() {
        Ok(true) => tally.step("licences, sources, advisories", Ok(())),
        Ok(false) => {
            tally.step("licences, sources", Ok(()));
            tally.skip(
                "advisories",
                "their database is not at hand (cargo deny fetch)",
            );
        }
        Err(error) => tally.step("licences, sources, advisories", Err(error)),
    }
}

/// In the release profile, so that dependencies are compiled once for tests and lab; our own crates are compiled for debugging, which
/// is quicker, and checks what a release does not (`xtask/unit-tests.toml`).
fn cargo_test() -> Command {
    let mut command = cargo();
    command
        .args(["test", "--release", "--locked", "--config", UNIT_TESTS])
        .args(EVERYTHING);
    command
}

/// The charts and the controller with a real API server: programs that the cluster has built.
fn with_api_server() -> Command {
    let mut command = cargo_test();
    command
        .args(["--no-fail-fast", "--test", "charts", "--test", "kubernetes"])
        .args(["--", "--ignored", "--test-threads=1"]);
    command
}

fn lab(tally: &mut Tally, args: &Args) -> anyhow::Result<()> {
    build::kernel_programs()?;
    if args.only.is_none() {
        // The agent's, which need root and the kernel object.
        tally.made_up_for(
            cargo_test()
                .args(["--test", "kernel", "--", "--ignored", "--test-threads=1"])
                .env("WARREN_BPF_OBJECT", build::object()),
        )?;
    }
    // After the last unit test, which leaves its own build of the binaries in their place.
    run(build::like_tests().args(BINARIES.map(|name| format!("--bin={name}"))))?;
    let mut wanted = scenarios();
    if args.long {
        wanted.arg("--long");
    }
    match &args.only {
        Some(only) => {
            wanted.args(["--only", only]);
        }
        None => by_themselves(tally)?,
    }
    tally.program(&mut wanted)
}

/// The kernel programs, the lab without a mesh, both on a machine without cgroup v1, and the demo.
fn by_themselves(tally: &mut Tally) -> anyhow::Result<()> {
    let smoke = run(Command::new(binary("warren-kernels"))
        .arg("smoke")
        .arg(build::object()));
    tally.step("kernel programs on this kernel", smoke);
    let mut selftest = Command::new(binary("warren-lab"));
    selftest.arg("selftest");
    tally.program(&mut selftest)?;
    if cgroup::is_hybrid() {
        println!("as on a machine without cgroup v1:");
        tally.program(&mut cgroup::without_v1(&selftest))?;
        let few = V2_ONLY.iter().flat_map(|name| ["--only", name]);
        tally.program(&mut cgroup::without_v1(scenarios().args(few)))?;
    }
    tally.step("demo", run(with_mesh().arg("demo")));
    Ok(())
}

fn scenarios() -> Command {
    let mut command = with_mesh();
    command.args(["run", "--retries", "1"]);
    command
}

fn with_mesh() -> Command {
    let mut command = Command::new(binary("warren-scenarios"));
    command
        .current_dir(root())
        .env("WARREN_BIN_DIR", target().join("release"))
        .env("WARREN_BPF_OBJECT", build::object());
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::UNIT_TESTS;
    use crate::run::{cargo, root};

    #[test]
    fn every_package_is_compiled_for_debugging_in_its_unit_tests() {
        let profile = fs::read_to_string(root().join(UNIT_TESTS)).expect("the profile is there");
        let listed: BTreeSet<&str> = profile
            .lines()
            .filter_map(|l| {
                l.strip_prefix("[profile.release.package.")?
                    .strip_suffix(']')
            })
            .collect();
        let tree = cargo()
            .args(["tree", "--workspace", "--depth", "0", "--prefix", "none"])
            .args(["--format", "{p}", "--offline", "--locked"])
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
        let members: BTreeSet<&str> = tree
            .lines()
            .filter_map(|l| l.split_whitespace().next())
            .filter(|name| *name != "warren-ebpf")
            .collect();
        assert_eq!(listed, members);
    }
}
