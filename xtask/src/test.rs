//! `test`: format, lints, generated files, unit tests, licences, kernel programs, scenarios in the lab.

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::run::{binary, cargo, root, run, target};
use crate::tally::Tally;
use crate::{build, cluster, deny, generate, setup};

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
    /// Only the test cluster: it comes up, works, and leaves nothing
    #[arg(long, conflicts_with_all = ["long", "only", "unit"])]
    cluster: bool,
}

/// Runs everything; the last line counts it.
pub(crate) fn command(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.unit {
        crate::run::need_root("cargo xtask test")?;
    }
    let began = Instant::now();
    let mut tally = Tally::default();
    if args.cluster {
        cluster::ready()?;
        tally.program(Command::new(binary("warren-cluster")).arg("smoke"))?;
    } else {
        setup::all()?;
        everything_else(&mut tally, args)?;
    }
    println!("took {} s", began.elapsed().as_secs());
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn everything_else(tally: &mut Tally, args: &Args) -> anyhow::Result<()> {
    if args.only.is_none() {
        checks(tally);
        units(tally)?;
    }
    if !args.unit {
        lab(tally, args)?;
    }
    Ok(())
}

/// What needs no test program.
fn checks(tally: &mut Tally) {
    tally.step("format", run(cargo().args(["fmt", "--all", "--check"])));
    let lints = [
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--exclude",
        "warren-ebpf",
        "--all-targets",
        "--quiet",
    ];
    tally.step(
        "lints",
        run(cargo().args(lints).args(["--", "-D", "warnings"])),
    );
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

/// In the release profile, so that dependencies are compiled once for tests and lab.
fn units(tally: &mut Tally) -> anyhow::Result<()> {
    let tests = [
        "test",
        "--release",
        "--locked",
        "--workspace",
        "--exclude",
        "warren-ebpf",
        "--no-fail-fast",
    ];
    tally.program(cargo().args(tests))
}

fn lab(tally: &mut Tally, args: &Args) -> anyhow::Result<()> {
    build::ready(&["warren-scenarios", "warren-interop", "warren-kernels"])?;
    let smoke = run(Command::new(binary("warren-kernels"))
        .arg("smoke")
        .arg(build::object()));
    tally.step("kernel programs on this kernel", smoke);
    // Left out (and counted as skipped) above: these need root and the kernel object.
    let agent = [
        "test",
        "--release",
        "--locked",
        "--package",
        "warren-agent",
        "--test",
        "kernel",
        "--",
    ];
    tally.program(
        cargo()
            .args(agent)
            .args(["--ignored", "--test-threads=1"])
            .env("WARREN_BPF_OBJECT", build::object()),
    )?;
    tally.program(Command::new(binary("warren-lab")).arg("selftest"))?;
    let mut scenarios = Command::new(binary("warren-scenarios"));
    scenarios
        .args(["run", "--retries", "1"])
        .current_dir(root());
    scenarios
        .env("WARREN_BIN_DIR", target().join("release"))
        .env("WARREN_BPF_OBJECT", build::object());
    if args.long {
        scenarios.arg("--long");
    }
    if let Some(only) = &args.only {
        scenarios.args(["--only", only]);
    }
    tally.program(&mut scenarios)
}
