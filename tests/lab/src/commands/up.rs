//! `up`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;
use serde_json::Value;

use super::objects::{remarks, warn};
use super::ps::table;
use crate::daemon::Options;
use crate::manifest::{Manifests, text};
use crate::paths::{self, Paths};
use crate::protocol::{Request, call};

/// Name of a lab that is given none.
pub const DEFAULT_NAME: &str = "lab";
/// Exit status of an `up` that was interrupted.
pub const INTERRUPTED: i32 = 130;
/// Nodes when neither the command line nor the manifests name any.
const DEFAULT_NODES: [&str; 2] = ["a", "b"];

/// Arguments of `up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Directory or file of Kubernetes YAML; may be repeated
    #[arg(long = "dir", short = 'd', alias = "file", short_alias = 'f')]
    pub dirs: Vec<PathBuf>,
    /// Nodes, separated by commas; those that the manifests name by default, else a,b
    #[arg(long, value_delimiter = ',', value_parser = node_name)]
    pub nodes: Vec<String>,
    /// Leave Service addresses alone
    #[arg(long)]
    pub no_kube_proxy: bool,
    /// Run none of the mesh's processes
    #[arg(long)]
    pub without_mesh: bool,
    /// Further flag of a component, as in control.cert-ttl=10s; may be repeated
    #[arg(long = "set", value_name = "COMPONENT.FLAG=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String, String)>,
    /// Directory of the mesh's binaries; the one of this program by default
    #[arg(long, env = "WARREN_LAB_BIN_DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Object file of the kernel programs
    #[arg(long, env = "WARREN_BPF_OBJECT")]
    pub bpf_object: Option<PathBuf>,
    /// Seconds until every pod must be ready
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
}

/// `lab up`.
pub fn command(args: &UpArgs, name: &str) -> Result<ExitCode> {
    let began = Instant::now();
    let answer = up(args, name)?;
    print!("{}", table(&answer));
    println!(
        "\nlab {} is up after {:.1} s",
        name,
        began.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

/// Starts a lab and returns what [`Request::Ps`] answers once every pod is ready.
pub fn up(args: &UpArgs, name: &str) -> Result<Value> {
    if let Some(other) = paths::labs().first() {
        bail!(
            "lab {other} is up already, or was left by a crash: `cargo xtask lab down` removes it"
        );
    }
    let Manifests {
        objects,
        bad,
        leftovers,
    } = Manifests::read(&args.dirs)?;
    let options = options(args, name, &objects)?;
    remarks(&objects);
    for bad in bad {
        eprintln!("warning: {bad}");
    }
    let paths = Paths::new(name);
    clean_up_when_interrupted(name)?;
    fs::create_dir_all(paths.dir())
        .with_context(|| format!("cannot create {}", paths.dir().display()))?;
    if let Err(error) = start_daemon(&paths, &options) {
        drop(STARTING.lock());
        let _ = crate::cleanup::remove(name);
        return Err(error);
    }
    let socket = paths.socket();
    let seconds = args.timeout;
    let ready = call(&socket, &Request::Apply { objects, leftovers }).and_then(|lines| {
        warn(&lines);
        call(&socket, &Request::Wait { seconds })
    });
    // An interruption that is at work keeps the lock until the process ends.
    drop(STARTING.lock());
    ready.with_context(|| {
        format!(
            "lab {name} is up, but not all of it is ready (`cargo xtask lab ps`, `logs` and `exec` look around, logs are below {}, `cargo xtask lab down` removes it)",
            paths.dir().display()
        )
    })
}

fn options(args: &UpArgs, name: &str, objects: &[Value]) -> Result<Options> {
    let exe = std::env::current_exe().context("where am I?")?;
    let beside = exe.parent().unwrap_or(Path::new("/")).to_owned();
    let bin_dir = args.bin_dir.clone().unwrap_or(beside);
    let bpf_object = args.bpf_object.clone().unwrap_or_else(|| {
        let target = bin_dir.parent().unwrap_or(Path::new("/"));
        target.join("bpf/bpfel-unknown-none/release/warren-ebpf")
    });
    let mut nodes = args.nodes.clone();
    if nodes.is_empty() {
        nodes = named_nodes(objects);
    }
    if nodes.iter().all(|n| DEFAULT_NODES.contains(&n.as_str())) && args.nodes.is_empty() {
        nodes = DEFAULT_NODES.map(str::to_owned).into();
    }
    if nodes.len() > 32 {
        bail!("{} nodes are too many: a lab has 32 at most", nodes.len());
    }
    if !args.without_mesh {
        if !bpf_object.exists() {
            bail!(
                "there are no kernel programs at {}: `cargo xtask build` makes them, `--without-mesh` does without",
                bpf_object.display()
            );
        }
        for binary in ["warren-control", "warren-agent", "warren-ztunnel"].map(|b| bin_dir.join(b))
        {
            if !binary.exists() {
                bail!(
                    "there is no {}: `cargo xtask build` makes it, `--without-mesh` does without",
                    binary.display()
                );
            }
        }
    }
    for (component, ..) in &args.settings {
        if !["control", "agent", "ztunnel", "lab"].contains(&component.as_str()) {
            bail!("--set {component}.…: the components are control, agent, ztunnel and lab");
        }
    }
    Ok(Options {
        name: name.to_owned(),
        nodes,
        mesh: !args.without_mesh,
        kube_proxy: !args.no_kube_proxy,
        settings: args.settings.clone(),
        bin_dir: absolute(&bin_dir)?,
        bpf_object: absolute(&bpf_object)?,
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}

fn named_nodes(objects: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for object in objects {
        let name = match text(object, "/kind") {
            "Node" => text(object, "/metadata/name"),
            "Pod" => text(object, "/spec/nodeName"),
            _ => {
                let spec = "/spec/template/spec";
                let direct = text(object, &format!("{spec}/nodeName"));
                if direct.is_empty() {
                    text(
                        object,
                        &format!("{spec}/nodeSelector/kubernetes.io~1hostname"),
                    )
                } else {
                    direct
                }
            }
        };
        if !name.is_empty() && !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names
}

/// Held while the daemon is being started, and from an interruption on: none is started that nobody takes away.
static STARTING: Mutex<()> = Mutex::new(());

/// Ctrl-C takes away what is half up.
fn clean_up_when_interrupted(name: &str) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // The daemon, which inherits that, unblocks them again.
    signals.thread_block().context("cannot block signals")?;
    let name = name.to_owned();
    std::thread::spawn(move || {
        if signals.wait().is_err() {
            return;
        }
        let _starting = STARTING.lock();
        eprintln!("interrupted: lab {name} goes down");
        let code = match crate::cleanup::remove(&name) {
            Ok(()) => INTERRUPTED,
            Err(error) => {
                eprintln!("error: {error:#}; `cargo xtask lab down` removes what is left");
                1
            }
        };
        std::process::exit(code);
    });
    Ok(())
}

fn start_daemon(paths: &Paths, options: &Options) -> Result<()> {
    let starting = STARTING.lock();
    let file = paths.dir().join("options.json");
    fs::write(&file, serde_json::to_vec_pretty(options)?)?;
    let log = fs::File::create(paths.daemon_log())?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["internal-daemon".as_ref(), file.as_os_str()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the daemon")?;
    fs::write(paths.dir().join("daemon.pid"), child.id().to_string())?;
    drop(starting);
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if paths.socket().exists() && call(&paths.socket(), &Request::Ps).is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            let log = fs::read_to_string(paths.daemon_log()).unwrap_or_default();
            bail!("the daemon ended with {status}: {}", log.trim());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!(
        "the daemon did not answer within 20 s: see {}",
        paths.daemon_log().display()
    )
}

/// Accepts names of nodes and labs.
pub fn node_name(word: &str) -> Result<String, String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if word.is_empty() || word.len() > 30 || !word.bytes().all(fine) || word == "outside" {
        return Err("use up to 30 lower case letters, digits and '-'".into());
    }
    Ok(word.to_owned())
}

fn setting(word: &str) -> Result<(String, String, String), String> {
    let parts = word
        .split_once('=')
        .and_then(|(left, value)| Some((left.split_once('.')?, value)));
    match parts {
        Some(((component, flag), value)) => Ok((component.into(), flag.into(), value.into())),
        None => Err("write COMPONENT.FLAG=VALUE, as in control.cert-ttl=10s".into()),
    }
}
