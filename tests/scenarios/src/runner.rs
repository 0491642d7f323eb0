//! Runs scenarios, one lab for each suite, and prints a line for each.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;

use crate::lab::{Lab, NAME};
use crate::process::kill_all;
use crate::scenario::{Scenario, Suite, all};
use crate::world::{Skip, World};
use crate::{signals, topology};

/// Options of `run`.
#[derive(Debug, Parser)]
pub struct Options {
    /// Only scenarios whose name contains this; several are alternatives.
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Soak tests as well.
    #[arg(long)]
    long: bool,
    /// Leave the lab up afterwards.
    #[arg(long)]
    keep: bool,
    /// Print the names and do nothing.
    #[arg(long)]
    list: bool,
    /// Use this lab, which is up with the scenarios' topology, and leave it up.
    #[arg(long, value_name = "LAB")]
    running: Option<String>,
    /// Bring the lab up without the mesh: what holds without one should pass, the rest should fail.
    #[arg(long)]
    without_mesh: bool,
    /// Stop at the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// Run a scenario that failed this many times more. One that passes then counts, and is named at the end: it is unsteady,
    /// or the machine was too busy.
    #[arg(long, default_value_t = 0)]
    retries: u32,
}

/// Runs what was asked for; false where one failed.
pub fn run(options: &Options) -> Result<bool> {
    let chosen: Vec<Scenario> = all().into_iter().filter(|s| options.wants(s)).collect();
    if options.list {
        for scenario in &chosen {
            let long = if scenario.long { "  (--long)" } else { "" };
            println!("{}{long}", scenario.name);
        }
        return Ok(true);
    }
    if chosen.is_empty() {
        bail!(
            "no scenario matches --only {}: `--list` prints all names",
            options.only.join(" ")
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the scenarios make network namespaces and load eBPF programs: run them as root");
    }
    if options.running.is_none() {
        if let Some(name) = Lab::present() {
            bail!(
                "lab {name} is up already, or was left by a crash: `cargo xtask lab down` removes it"
            );
        }
        let lab = Lab::named(NAME)?;
        signals::on_interrupt(move || {
            kill_all();
            let _ = lab.down();
        })?;
    }
    let mut tally = Tally::default();
    let suites: BTreeSet<Suite> = chosen.iter().map(|s| s.suite).collect();
    let last = suites.last().copied();
    for suite in suites {
        let members: Vec<&Scenario> = chosen.iter().filter(|s| s.suite == suite).collect();
        run_suite(
            suite,
            &members,
            options,
            options.keep && last == Some(suite),
            &mut tally,
        )?;
        if options.fail_fast && tally.failed > 0 {
            break;
        }
    }
    if !tally.unsteady.is_empty() {
        println!("passed only when tried again: {}", tally.unsteady.join(" "));
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    Ok(tally.failed == 0)
}

impl Options {
    fn wants(&self, scenario: &Scenario) -> bool {
        let named =
            self.only.is_empty() || self.only.iter().any(|p| scenario.name.contains(p.as_str()));
        named && (self.running.is_none() || scenario.suite == Suite::Main)
    }
}

#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    unsteady: Vec<String>,
}

impl Tally {
    fn pass(&mut self, name: &str, seconds: f64) {
        self.passed += 1;
        println!("ok       {name} ({seconds:.1} s)");
    }

    fn fail(&mut self, name: &str, seconds: f64, why: &str) {
        self.failed += 1;
        println!("FAILED   {name} ({seconds:.1} s): {why}");
    }

    fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        println!("skipped  {name}: {why}");
    }
}

fn run_suite(
    suite: Suite,
    members: &[&Scenario],
    options: &Options,
    keep: bool,
    tally: &mut Tally,
) -> Result<()> {
    let lab = Lab::named(options.running.as_deref().unwrap_or(NAME))?;
    let owned = options.running.is_none();
    let dir = topology::prepare(&lab, "topology")?;
    if owned {
        let begin = Instant::now();
        let mut up = suite.options();
        if options.without_mesh {
            up.push("--without-mesh".into());
        }
        if let Err(error) = lab.up(dir.path(), &up) {
            signals::stop_here_if_interrupted();
            let _ = lab.down();
            for scenario in members {
                tally.fail(&scenario.name, 0.0, "the lab for it did not come up");
            }
            println!("{error:#}");
            return Ok(());
        }
        println!(
            "lab up for suite {suite:?} in {:.1} s",
            begin.elapsed().as_secs_f64()
        );
    }
    let world = World::new(lab.clone());
    let failed_before = tally.failed;
    for scenario in members {
        run_one(scenario, &world, options, tally);
        if options.fail_fast && tally.failed > failed_before {
            break;
        }
    }
    if tally.failed > failed_before {
        println!(
            "to look into the lab (run with --keep to leave it up): {}",
            lab.how_to_enter()
        );
    }
    if owned && !keep {
        take_down(&lab, suite, tally)?;
    }
    Ok(())
}

/// Nothing may be left, not even of a lab that crashed.
fn take_down(lab: &Lab, suite: Suite, tally: &mut Tally) -> Result<()> {
    let mut name = format!("lab/down-leaves-nothing/{suite:?}");
    if suite.crashes() {
        name = format!("lab/down-after-a-crash-leaves-nothing/{suite:?}");
        lab.crash()?;
    }
    lab.down()?;
    match lab.leftovers() {
        left if left.is_empty() => tally.pass(&name, 0.0),
        left => tally.fail(&name, 0.0, &left.join(", ")),
    }
    Ok(())
}

fn run_one(scenario: &Scenario, world: &World, options: &Options, tally: &mut Tally) {
    if scenario.long && !options.long {
        return tally.skip(&scenario.name, "only with --long");
    }
    let begin = Instant::now();
    let mut result = scenario.run(world);
    for _ in 0..options.retries {
        signals::stop_here_if_interrupted();
        match &result {
            Err(error) if error.downcast_ref::<Skip>().is_none() => {
                println!("again    {}: {error:#}", scenario.name);
                result = scenario.run(world);
                if result.is_ok() {
                    tally.unsteady.push(scenario.name.clone());
                }
            }
            _ => break,
        }
    }
    let took = begin.elapsed().as_secs_f64();
    signals::stop_here_if_interrupted();
    match result {
        Ok(()) => tally.pass(&scenario.name, took),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => tally.skip(&scenario.name, &skip.to_string()),
            None => tally.fail(&scenario.name, took, &format!("{error:#}")),
        },
    }
}
