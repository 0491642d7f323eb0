//! The mesh on a real Kubernetes: its images, and the cluster's own program that tries them.

use std::process::Command;
use std::time::Instant;

use crate::run::{binary, run};
use crate::tally::Tally;
use crate::{build, images, setup};

const BINARIES: [&str; 4] = [
    "warren",
    "warren-cluster",
    "warren-peer",
    "warren-scenarios",
];

/// Builds the images and the programs of Kubernetes where they are missing, and runs the smoke, or all suites.
pub(super) fn run_on(tally: &mut Tally, all: bool) -> anyhow::Result<()> {
    println!("on Kubernetes:");
    setup::cluster()?;
    let began = Instant::now();
    let images = images::for_tests()?;
    run(build::like_tests().args(BINARIES.map(|name| format!("--bin={name}"))))?;
    run(Command::new(binary("warren-cluster")).arg("binaries"))?;
    println!("building took {} s", began.elapsed().as_secs());
    let mut cluster = Command::new(binary("warren-cluster"));
    cluster.arg(if all { "suites" } else { "smoke" });
    tally.program(cluster.arg("--images").arg(images))
}
