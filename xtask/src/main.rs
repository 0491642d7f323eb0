//! `cargo xtask`: everything that a person or CI does with this repository, one file a command.
//!
//! ```text
//! demo, test, bench --> setup --> build --> the lab's and the scenarios' own binaries
//! ```
#![forbid(unsafe_code)]

mod bench;
mod build;
mod cgroup;
mod cluster;
mod demo;
mod deny;
mod fuzz;
mod generate;
mod images;
mod kernels;
mod lab;
mod packages;
mod run;
mod setup;
mod tally;
mod test;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about = "Builds, tries and tests Warren", long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Install what this machine lacks (Debian packages, bpf-linker)
    Setup(setup::Args),
    /// Build the kernel programs and the release binaries
    Build(build::Args),
    /// Set up, build, and show the mesh at work on real programs
    Demo(demo::Args),
    /// Set up, build, and run every test
    Test(test::Args),
    /// The lab: nodes and pods on this machine (up, exec, apply, delete, cp, logs, ps, node, restart, down)
    Lab(Rest),
    /// A real Kubernetes on this machine (up, load-images, kubectl, helm, node, power-off, power-on, status, smoke, down)
    Cluster(Rest),
    /// Container images of the mesh, as OCI archives
    Images(images::Args),
    /// Measure throughput, latency and the controller against the same paths without mesh
    Bench(Rest),
    /// Fuzz the parsers of foreign bytes
    Fuzz(Rest),
    /// Try the kernel programs on Debian's 6.1 and 6.12 kernels under qemu
    Kernels(kernels::Args),
    /// Write the generated files (wire code, CRDs, rendered charts, docs/reference), or check that they are current
    Generate(generate::Args),
}

/// Arguments passed on as they are.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Rest {
    /// Passed on
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub(crate) rest: Vec<String>,
}

fn main() -> ExitCode {
    let cli: Cli = match warren_arguments::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let Some(command) = cli.command else {
        let _ = Cli::command().print_help();
        return ExitCode::SUCCESS;
    };
    let result = match command {
        Command::Setup(args) => setup::command(&args),
        Command::Build(args) => build::command(&args),
        Command::Demo(args) => demo::command(&args),
        Command::Test(args) => test::command(&args),
        Command::Lab(args) => lab::command(&args.rest),
        Command::Cluster(args) => cluster::command(&args.rest),
        Command::Images(args) => images::command(&args),
        Command::Bench(args) => bench::command(&args.rest),
        Command::Fuzz(args) => fuzz::command(&args.rest),
        Command::Kernels(args) => kernels::command(&args),
        Command::Generate(args) => generate::command(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
