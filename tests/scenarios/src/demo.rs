//! The demo: the mesh at work on real programs, step by step, each with what was measured.

mod figures;
mod identity;
mod policy;
mod recovery;
mod wire;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;

use crate::lab::Lab;
use crate::process::kill_all;
use crate::world::World;
use crate::{signals, topology};

/// Name of the demo's lab.
const NAME: &str = "demo";

/// Options of `demo`.
#[derive(Debug, Parser)]
pub struct Options {
    /// Leave the lab up and print what to try.
    #[arg(long)]
    keep: bool,
}

/// What is shown, and the function that shows it and returns what was measured, one fact a line.
type Step = (&'static str, fn(&World) -> Result<Vec<String>>);

const STEPS: [Step; 10] = [
    (
        "Before: two namespaces without a mesh talk in plaintext",
        wire::before,
    ),
    (
        "Label both namespaces: running pods join, nothing restarts, no connection breaks",
        identity::label,
    ),
    (
        "On the wire between the nodes there is now only mutual TLS",
        wire::after,
    ),
    (
        "Who is who: true addresses for applications, SPIFFE identities for the mesh",
        identity::who,
    ),
    (
        "Real programs, unmodified: HTTP by curl, Redis",
        identity::programs,
    ),
    (
        "Audit and deny: first reported, then enforced, on open connections as well",
        policy::deny,
    ),
    (
        "Pods of one node talk directly: the kernel vouches for both ends",
        wire::direct,
    ),
    (
        "Kill the tunnel: direct flows do not notice, clients wait, nothing leaks",
        recovery::kill,
    ),
    (
        "What it costs: throughput and latency with and without the mesh",
        figures::figures,
    ),
    ("What operators see", recovery::views),
];

/// Runs the demo; true where every step held.
pub fn run(options: &Options) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the demo makes network namespaces and loads eBPF programs: run it as root");
    }
    if let Some(name) = Lab::present() {
        bail!(
            "lab {name} is up already, or was left by a crash: `cargo xtask lab down` removes it"
        );
    }
    let lab = Lab::named(NAME)?;
    let dir = topology::prepare_unlabelled(&lab, "topology")?;
    let (cleaner, manifests) = (lab.clone(), dir.path().to_owned());
    signals::on_interrupt(move || {
        println!("\ninterrupted: taking the lab down");
        kill_all();
        let _ = cleaner.down();
        let _ = std::fs::remove_dir_all(manifests);
    })?;
    let begin = Instant::now();
    println!("Two nodes, a and b, ten pods, each node with an agent and a tunnel, one controller.");
    let result = lab.up(dir.path(), &[]).map(|_| {
        println!(
            "The lab is up after {:.1} s.\n",
            begin.elapsed().as_secs_f64()
        );
        show(&World::new(lab.clone()))
    });
    signals::stop_here_if_interrupted();
    if result.is_ok() && options.keep {
        what_to_try();
    } else {
        lab.down()?;
    }
    let held = result?;
    println!(
        "{held} of {} steps held, {:.0} s in all",
        STEPS.len(),
        begin.elapsed().as_secs_f64()
    );
    Ok(held == STEPS.len())
}

/// Shows every step; returns how many held.
fn show(world: &World) -> usize {
    let mut held = 0;
    for (number, (title, step)) in STEPS.iter().enumerate() {
        println!("{}. {title}", number + 1);
        let result = step(world);
        signals::stop_here_if_interrupted();
        match result {
            Ok(facts) => {
                held += 1;
                facts
                    .iter()
                    .for_each(|fact| println!("   {}", fact.replace('\n', "\n   ")));
            }
            Err(error) => println!("   DID NOT HOLD: {error:#}"),
        }
        println!();
    }
    held
}

fn what_to_try() {
    println!("The lab stays up. Try:");
    for line in [
        "cargo xtask lab ps",
        "cargo xtask lab exec -n shop client-a -- curl -v telnet://web.shop.svc.cluster.local:80",
        "cargo xtask lab apply -f tests/scenarios/manifests/policies/deny-other.yaml",
        "cargo xtask lab exec -n other client-a -- bash",
        "cargo xtask lab node a -- tcpdump -ni any port 15008",
        "target/release/warren status",
        "cargo xtask lab down",
    ] {
        println!("  {line}");
    }
}
