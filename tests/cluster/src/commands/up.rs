//! `up`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::binaries;
use crate::commands::status;
use crate::layout::{CONTROL, Layout};
use crate::machine::{is_alive, machines};
use crate::plan::{Cni, Plan};
use crate::{interrupt, out, remove, start, wait};

/// Name of a cluster that was not given one.
pub const DEFAULT_NAME: &str = "warren";

const LOCK: &str = "/run/warren-cluster.lock";
/// How long another cluster may take to start.
const OTHERS: Duration = Duration::from_secs(360);

/// What a cluster is to look like.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// Names of the nodes
    #[arg(long, value_delimiter = ',', default_value = "node-a,node-b", value_parser = node_name)]
    pub nodes: Vec<String>,
    /// How pods are wired
    #[arg(long, value_enum, default_value_t)]
    pub cni: Cni,
    /// Image archives that every node gets
    #[arg(long, value_name = "ARCHIVE")]
    pub image: Vec<PathBuf>,
    /// Leave everything as it is when the start fails
    #[arg(long)]
    pub keep: bool,
}

/// Runs `up` from the command line.
pub(super) fn command(args: &UpArgs, name: &str) -> Result<ExitCode> {
    interrupt::watch()?;
    let layout = Layout::new(name);
    up(args, &layout)?;
    status::print(&layout)?;
    out::line(format_args!(
        "export KUBECONFIG={}",
        layout.kubeconfig().display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Starts a cluster. What was made is removed again if it does not come up, unless it is to be kept.
///
/// # Errors
/// One of this name is up; something is missing; a component does not get ready (the message has its log's end).
pub fn up(args: &UpArgs, layout: &Layout) -> Result<()> {
    for program in ["ip", "nft", "mount"] {
        if !in_path(program) {
            bail!("{program} is missing: apt-get install -y iproute2 nftables util-linux");
        }
    }
    let binaries = binaries::ensure()?;
    let _lock = alone()?;
    let plan = reserve(args, layout)?;
    let result = start::start(layout, &plan, &binaries, &args.image);
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
        if args.keep {
            bail!(
                "cluster {} did not come up; what there is of it was kept",
                plan.name
            );
        }
        interrupt::forget();
        remove::remove(layout).context("tidy up after that")?;
        bail!(
            "cluster {} did not come up; nothing of it is left (--keep keeps it)",
            plan.name
        );
    }
    Ok(())
}

/// Only one cluster starts at a time: numbers and names are taken between looking and writing. The kernel ends the lock with its file.
fn alone() -> Result<File> {
    let file = File::create(LOCK).with_context(|| LOCK.to_owned())?;
    let free = || Ok(file.try_lock().is_ok());
    wait::until("the start of another cluster", OTHERS, &[], free)?;
    Ok(file)
}

/// Takes the name. A dead cluster of the same name is removed first.
fn reserve(args: &UpArgs, layout: &Layout) -> Result<Plan> {
    let name = &layout.name;
    if machines(layout)
        .iter()
        .any(|machine| is_alive(layout, machine))
    {
        bail!(
            "a cluster called {name} is up: `cargo xtask cluster down` removes it, --name makes another one"
        );
    }
    if !remove::remains(layout).is_empty() {
        out::line(format_args!(
            "removing what is left of an earlier cluster {name}"
        ));
        remove::remove(layout)?;
    }
    let plan = Plan::new(name, &args.nodes, args.cni)?;
    for folder in [
        layout.logs(),
        layout.images(),
        layout.dir().join("machines"),
    ] {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    plan.save(layout)?;
    Ok(plan)
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

fn node_name(word: &str) -> Result<String, String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = word.starts_with('-') || word.ends_with('-');
    if word.is_empty() || word.len() > 30 || ends || !word.bytes().all(fine) || word == CONTROL {
        return Err(format!(
            "use up to 30 lower case letters, digits and '-'; {CONTROL} is taken"
        ));
    }
    Ok(word.to_owned())
}
