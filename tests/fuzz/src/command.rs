//! The command line: without a subcommand, every target for a while.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::runner::{self, Options};
use crate::targets::{TARGETS, Target, find};
use crate::watch::Bounds;
use crate::{corpus, guided, seeds};

/// Runs the parsers of foreign bytes on inputs that nobody wrote.
#[derive(Debug, Parser)]
#[command(name = "warren-fuzz", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    all: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the targets
    List,
    /// Mutate the corpora of some targets
    Run {
        /// Targets; all by default
        targets: Vec<String>,
        #[command(flatten)]
        run: RunArgs,
    },
    /// As `run`, in a build that counts edges: inputs that reach new code are built upon
    Guided {
        /// What `run` would be given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run a target on files, such as a crash
    Replay {
        /// Target
        target: String,
        /// Input files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Write the seeds of binary formats into the corpora
    Seed,
}

#[derive(Clone, Debug, Args)]
struct RunArgs {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Start of the random numbers; another one at each call by default
    #[arg(long)]
    seed: Option<u64>,
    /// Longest time of one input, in seconds
    #[arg(long, default_value_t = 10)]
    input_seconds: u64,
    /// Most memory that one input may make the process grow by, in MB
    #[arg(long, default_value_t = 1024)]
    input_megabytes: u64,
    /// Where inputs that panic go
    #[arg(long, default_value = "target/fuzz-crashes")]
    crashes: PathBuf,
    /// Read and write inputs that reached new code here
    #[arg(long)]
    grow: Option<PathBuf>,
}

/// Runs a command line.
///
/// # Errors
/// Something cannot be read or written, or a target is unknown. Panics of targets are exit status 1.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        None => many(&[], &cli.all),
        Some(Command::Run { targets, run }) => many(&targets, &run),
        Some(Command::Replay { target, files }) => replay(&target, &files),
        Some(Command::Guided { args }) => {
            guided::become_guided(&[vec!["run".to_owned()], args].concat())?;
            Ok(ExitCode::FAILURE)
        }
        Some(Command::List) => {
            TARGETS
                .iter()
                .for_each(|t| println!("{:16} {}", t.name, t.about));
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Seed) => {
            for (target, input) in seeds::all() {
                corpus::save(&corpus::root().join(target), &input)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn many(names: &[String], args: &RunArgs) -> Result<ExitCode> {
    let chosen: Vec<&Target> = match names {
        [] => TARGETS.iter().collect(),
        names => names
            .iter()
            .map(|name| known(name))
            .collect::<Result<_>>()?,
    };
    let mut crashed = false;
    for target in chosen {
        let options = Options {
            length: Duration::from_secs(args.seconds),
            seed: args.seed.unwrap_or_else(rand::random),
            bounds: Bounds {
                time: Duration::from_secs(args.input_seconds),
                memory: args.input_megabytes << 20,
            },
            crashes: args.crashes.clone(),
            grow: args.grow.clone(),
        };
        crashed |= one(target, &options)?;
    }
    Ok(if crashed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn one(target: &Target, options: &Options) -> Result<bool> {
    let summary =
        runner::long(target, options).with_context(|| format!("target {}", target.name))?;
    let (taken, counted) = summary.edges;
    let guidance = match counted {
        0 => "no edge counters".to_owned(),
        _ => format!("{taken} edges taken, {} inputs found", summary.found),
    };
    println!(
        "{:16} {} inputs (seed {}), slowest {:.1?}, {guidance}, {} crashes",
        target.name,
        summary.runs,
        options.seed,
        summary.slowest,
        summary.crashes.len()
    );
    for (message, path) in &summary.crashes {
        println!(
            "  {}\n  input: {}",
            message.replace('\n', "\n    "),
            path.display()
        );
    }
    Ok(!summary.crashes.is_empty())
}

fn replay(name: &str, files: &[PathBuf]) -> Result<ExitCode> {
    let target = known(name)?;
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let input =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        match runner::once(target, &input) {
            Ok(()) => println!("{}: no panic", file.display()),
            Err(message) => {
                println!("{}: {message}", file.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn known(name: &str) -> Result<&'static Target> {
    match find(name) {
        Some(target) => Ok(target),
        None => bail!("no target `{name}`; `list` shows them all"),
    }
}
