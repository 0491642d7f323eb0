//! The whole benchmark: which parts, how long, in what order.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{Part, RunArgs};
use crate::controller;
use crate::lab::Lab;
use crate::machine::{Machine, load_average};
use crate::report;
use crate::results::Results;

mod cross_node;
mod crosscheck;
mod memory;
mod pairs;
mod same_node;
mod yardstick;

pub use pairs::{Plan, interleave};

/// Runs what `args` ask for and writes the results.
///
/// # Errors
/// The lab does not come up, a load fails, or the results cannot be written.
pub fn run(args: &RunArgs) -> Result<()> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "the benchmark needs root: it runs a lab; try sudo"
    );
    crate::process::raise_open_files()?;
    let own = std::env::current_exe().context("this program's own path is unknown")?;
    let bin_dir = args
        .bin_dir
        .clone()
        .or_else(|| own.parent().map(Path::to_owned))
        .unwrap_or_default();
    let out = args.out.clone().unwrap_or_else(|| docs(&own));
    // Now, not after minutes of measuring.
    std::fs::create_dir_all(&out)
        .with_context(|| format!("cannot make the folder {}", out.display()))?;
    let mut results = Results {
        machine: Machine::here(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        quick: args.quick,
        measures: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(load) = load_average().filter(|load| *load > 0.5) {
        let note =
            format!("The machine was busy with other work at the start (load average {load:.1}).");
        results.notes.push(note);
    }
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let plan = Plan::new(args.quick);
    if [Part::SameNode, Part::CrossNode, Part::Memory]
        .into_iter()
        .any(wanted)
    {
        let lab = Lab::up(&bin_dir, args.reuse, args.keep)?;
        // Before anything else has made the tunnel grow.
        if wanted(Part::Memory) {
            memory::run(&lab, &plan, &mut results)?;
        }
        if wanted(Part::SameNode) {
            same_node::run(&lab, &plan, &mut results)?;
        }
        if wanted(Part::CrossNode) {
            cross_node::run(&lab, &plan, &mut results)?;
            yardstick::run(&lab, &plan, &mut results)?;
        }
        crosscheck::run(&lab, &plan, &wanted, &mut results)?;
    }
    if wanted(Part::Controller) {
        controller::run(&bin_dir, args, &mut results)?;
    }
    results.measures.sort_by_key(|m| m.section);
    report::write(&results, &out)?;
    Ok(write!(std::io::stdout(), "{}", report::page(&results))?)
}

/// `docs` of the workspace that this program was built in, else that of the current directory.
fn docs(own: &Path) -> PathBuf {
    let workspace = own.ancestors().find(|dir| dir.join("Cargo.lock").is_file());
    workspace.map_or_else(|| PathBuf::from("docs"), |dir| dir.join("docs"))
}
