//! Runs scenarios, one lab for each suite, and prints a line for each.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;

use crate::lab::{Lab, NAME, Place};
use crate::process::{Done, kill_all};
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
    /// Use this cluster, which is up with nodes `a` and `b` and with the mesh, and run what makes sense there.
    #[arg(long, value_name = "CLUSTER", conflicts_with_all = ["running", "without_mesh"])]
    cluster: Option<String>,
    /// Bring the lab up without the mesh: what holds without one should pass, the rest should fail.
    #[arg(long)]
    without_mesh: bool,
    /// Stop at the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// Run a scenario that failed this many times more, but for those that look for plaintext and open policies. One that passes
    /// then counts as passed, and is named and counted at the end: it is unsteady, or the machine was too busy.
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
    if let Some(name) = &options.cluster {
        return on_cluster(name, &chosen, options);
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
    Ok(tally.end())
}

/// The scenarios' pods are made there, and go again.
fn on_cluster(name: &str, chosen: &[Scenario], options: &Options) -> Result<bool> {
    let cluster = Lab::at(Place::Cluster, name)?;
    let mut tally = Tally::default();
    let dir = topology::prepare_for_cluster(&cluster, "topology")?;
    let folder = dir.path().to_string_lossy();
    let delete = [
        "delete",
        "-f",
        &folder,
        "--ignore-not-found",
        "--timeout=60s",
    ];
    cluster.kubectl(&delete)?.ok()?;
    let up = cluster
        .kubectl(&["apply", "-f", &folder])
        .and_then(Done::ok)
        .and_then(|_| pods_ready(&cluster));
    match up {
        Ok(()) => {
            let world = World::new(cluster.clone());
            for scenario in chosen {
                run_one(scenario, &world, options, &mut tally);
                if options.fail_fast && tally.failed > 0 {
                    break;
                }
            }
        }
        Err(error) => tally.fail("cluster/pods", 0.0, &format!("{error:#}")),
    }
    if !options.keep {
        cluster.kubectl(&delete)?.ok()?;
    }
    Ok(tally.end())
}

fn pods_ready(cluster: &Lab) -> Result<()> {
    for namespace in ["shop", "other", "plain"] {
        let wait = [
            "wait",
            "pod",
            "--all",
            "-n",
            namespace,
            "--for=condition=Ready",
        ];
        cluster
            .kubectl(&[&wait[..], &["--timeout=80s"]].concat())?
            .ok()?;
    }
    Ok(())
}

impl Options {
    fn wants(&self, scenario: &Scenario) -> bool {
        let named =
            self.only.is_empty() || self.only.iter().any(|p| scenario.name.contains(p.as_str()));
        let here = match (&self.cluster, &self.running) {
            (Some(_), _) => scenario.anywhere && scenario.suite == Suite::Main,
            (None, Some(_)) => scenario.suite == Suite::Main,
            (None, None) => true,
        };
        named && here
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

    /// The last lines; whether nothing failed.
    fn end(&self) -> bool {
        if !self.unsteady.is_empty() {
            println!("passed only when tried again: {}", self.unsteady.join(" "));
        }
        println!("{}", self.closing());
        self.failed == 0
    }

    fn closing(&self) -> String {
        let mut line = format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
        if !self.unsteady.is_empty() {
            line += &format!(", {} unsteady", self.unsteady.len());
        }
        line
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
    let retries = if scenario.strict { 0 } else { options.retries };
    for _ in 0..retries {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_counts_what_was_unsteady() {
        let mut tally = Tally {
            passed: 3,
            skipped: 1,
            ..Tally::default()
        };
        assert_eq!(tally.closing(), "3 passed, 0 failed, 1 skipped");
        tally.unsteady.push("sockets/one".to_owned());
        assert_eq!(tally.closing(), "3 passed, 0 failed, 1 skipped, 1 unsteady");
    }
}
