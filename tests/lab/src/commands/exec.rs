//! `exec`, `cp`, `logs`, `node`.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::{PodArgs, current};
use crate::container::{Entry, run_entry};
use crate::manifest::text;
use crate::protocol::{Request, call};
use crate::{cgroup, paths};

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    place: PodArgs,
    /// Accepted for kubectl's sake: input and terminal are always passed on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Accepted for kubectl's sake
    #[arg(short = 't', long)]
    tty: bool,
    /// Pod, or its owner's name
    pod: String,
    /// Command and arguments, after `--`
    #[arg(last = true, required = true, value_name = "-- COMMAND")]
    argv: Vec<String>,
}

/// Arguments of `cp`.
#[derive(Debug, Args)]
pub struct CpArgs {
    /// Container, the first by default
    #[arg(short, long)]
    container: Option<String>,
    /// File here, or NAMESPACE/POD:PATH
    from: String,
    /// File here, or NAMESPACE/POD:PATH
    to: String,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    place: PodArgs,
    /// Go on as more is written
    #[arg(short, long)]
    follow: bool,
    /// Node, to see what its agent, ztunnel, control or kubelet wrote
    #[arg(long)]
    node: Option<String>,
    /// Pod, or with --node the component
    pod: String,
}

/// Arguments of `node`.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Node name, or `outside`
    node: String,
    /// Command and arguments, after `--`
    #[arg(last = true, required = true, value_name = "-- COMMAND")]
    argv: Vec<String>,
}

/// `lab exec`: becomes the command, so that input, output, terminal and exit status are its own.
pub fn exec(args: &ExecArgs) -> Result<ExitCode> {
    let (mut entry, env) = enter(
        &args.place.namespace,
        &args.pod,
        args.place.container.as_deref(),
    )?;
    entry.argv.clone_from(&args.argv);
    become_with(&entry, env)
}

/// `lab node`: the node's network, the machine's files, a cgroup of the node of its own.
pub fn node(args: &NodeArgs) -> Result<ExitCode> {
    let lab = current()?;
    let (netns, group) = if args.node == "outside" {
        (lab.outside_netns(), cgroup::lab()?.join("outside"))
    } else {
        (
            lab.node_netns(&args.node),
            cgroup::system(&args.node, "shell")?,
        )
    };
    if !paths::netns_path(&netns).exists() {
        bail!("there is no node {}: `lab ps` shows the nodes", args.node);
    }
    cgroup::create(&group)?;
    let entry = Entry {
        cgroup: group,
        netns: paths::netns_path(&netns),
        cwd: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        argv: args.argv.clone(),
        ..Entry::default()
    };
    match run_entry(&entry)? {}
}

/// `lab logs`.
pub fn logs(args: &LogsArgs) -> Result<ExitCode> {
    let lab = current()?;
    let path = match &args.node {
        Some(node) => lab.component_log(node, &args.pod),
        None => PathBuf::from(text(
            &describe(
                &args.place.namespace,
                &args.pod,
                args.place.container.as_deref(),
            )?,
            "/log",
        )),
    };
    let mut file = File::open(&path)
        .with_context(|| format!("nothing was written yet: no {}", path.display()))?;
    loop {
        std::io::copy(&mut file, &mut std::io::stdout())?;
        std::io::stdout().flush()?;
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_millis(100));
        if file.metadata()?.len() < file.stream_position()? {
            file.rewind()?;
        }
    }
}

/// `lab cp`.
pub fn cp(args: &CpArgs) -> Result<ExitCode> {
    if place(&args.from).is_none() && place(&args.to).is_none() {
        bail!(
            "neither {} nor {} is in a pod: write NAMESPACE/POD:PATH",
            args.from,
            args.to
        );
    }
    let mut data = Vec::new();
    let container = args.container.as_deref();
    match place(&args.from) {
        Some((namespace, pod, path)) => {
            let output = inside(namespace, pod, container, &["cat", "--", path])?.output()?;
            if !output.status.success() {
                bail!(
                    "cannot read {}: {}",
                    args.from,
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            data = output.stdout;
        }
        None => {
            let mut file =
                File::open(&args.from).with_context(|| format!("cannot read {}", args.from))?;
            file.read_to_end(&mut data)?;
        }
    }
    match place(&args.to) {
        Some((namespace, pod, path)) => {
            let command = inside(
                namespace,
                pod,
                container,
                &["sh", "-c", "cat > \"$0\"", path],
            )?;
            crate::process::feed(command, &data)
                .with_context(|| format!("cannot write {}", args.to))?;
        }
        None => {
            let name = Path::new(&args.from).file_name();
            let target = Path::new(&args.to);
            let target = if target.is_dir() {
                target.join(name.unwrap_or_default())
            } else {
                target.to_owned()
            };
            std::fs::write(&target, &data)
                .with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `NAMESPACE/POD:PATH` or `POD:PATH`.
fn place(word: &str) -> Option<(&str, &str, &str)> {
    let (pod, path) = word
        .split_once(':')
        .filter(|(pod, _)| !pod.starts_with(['.', '/']))?;
    let (namespace, pod) = pod.split_once('/').unwrap_or(("default", pod));
    Some((namespace, pod, path))
}

fn describe(namespace: &str, pod: &str, container: Option<&str>) -> Result<Value> {
    let request = Request::Enter {
        namespace: namespace.into(),
        pod: pod.into(),
        container: container.map(str::to_owned),
    };
    call(&current()?.socket(), &request)
}

fn enter(
    namespace: &str,
    pod: &str,
    container: Option<&str>,
) -> Result<(Entry, Vec<(String, String)>)> {
    let answer = describe(namespace, pod, container)?;
    Ok((
        serde_json::from_value(answer["entry"].clone())?,
        serde_json::from_value(answer["env"].clone())?,
    ))
}

fn inside(namespace: &str, pod: &str, container: Option<&str>, argv: &[&str]) -> Result<Command> {
    let (mut entry, env) = enter(namespace, pod, container)?;
    entry.argv = argv.iter().map(|a| (*a).to_owned()).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["internal-run", &serde_json::to_string(&entry)?])
        .env_clear()
        .envs(env);
    Ok(command)
}

/// Executes the lab's own binary in between, because only that replaces the whole environment.
fn become_with(entry: &Entry, env: Vec<(String, String)>) -> Result<ExitCode> {
    let error = Command::new(std::env::current_exe()?)
        .args(["internal-run", &serde_json::to_string(entry)?])
        .env_clear()
        .envs(env)
        .envs(std::env::var("TERM").map(|t| ("TERM".to_owned(), t)))
        .exec();
    Err(error).context("cannot start the command")
}
