//! `warren-scenarios`: runs the scenarios and the demo.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use warren_scenarios::{demo, runner};

/// Tests of the mesh in the lab, with real programs.
#[derive(Debug, Parser)]
#[command(name = "warren-scenarios", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios; the last line is `N passed, N failed, N skipped`, and `, N unsteady` where some passed only when tried again.
    Run(runner::Options),
    /// Show the mesh at work; exit status 0 only where every step held.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let args: Args = match warren_arguments::parse() {
        Ok(args) => args,
        Err(status) => return status,
    };
    let result = match args.command {
        Command::Run(options) => runner::run(&options),
        Command::Demo(options) => demo::run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("warren-scenarios: {error:#}");
            ExitCode::FAILURE
        }
    }
}
