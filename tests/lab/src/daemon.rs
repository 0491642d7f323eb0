//! The daemon: one process that plays API server, controllers, scheduler, kubelets, kube-proxy and DNS.

mod components;
mod containers;
mod kubelets;
mod logs;
mod pods;
mod reconcile;
mod requests;
mod state;
mod status;
mod sync;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::SigSet;
use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dns::SharedZone;
use crate::paths::Paths;
use crate::protocol::{Reply, Request};
use crate::token::Issuer;
use crate::{bpffs, dns, netns, network};

pub use state::State;
pub use status::PodRow;

/// How a lab is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Name.
    pub name: String,
    /// Nodes, the first of which runs the controller.
    pub nodes: Vec<String>,
    /// Whether the mesh's processes run.
    pub mesh: bool,
    /// Whether Service addresses are translated by nftables.
    pub kube_proxy: bool,
    /// Further flags for components: component, flag without dashes, value.
    pub settings: Vec<(String, String, String)>,
    /// Directory of the mesh's binaries.
    pub bin_dir: PathBuf,
    /// Object file of the kernel programs.
    pub bpf_object: PathBuf,
}

/// What every thread of the daemon shares.
pub struct Daemon {
    /// Paths of the lab.
    pub paths: Paths,
    /// How the lab was asked to be.
    pub options: Options,
    /// The lab's own binary.
    pub exe: PathBuf,
    /// Signs tokens.
    pub issuer: Issuer,
    /// What the DNS servers answer from.
    pub zone: SharedZone,
    state: Mutex<State>,
    changed: Condvar,
    kubelets: Mutex<BTreeMap<String, ChildStdin>>,
}

impl Daemon {
    /// Locks the state.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes the state and wakes everybody who waits for it.
    pub fn change<T>(self: &Arc<Self>, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = work(&mut state);
        self.reconcile(&mut state);
        drop(state);
        self.changed.notify_all();
        result
    }

    /// Waits until `ready` answers, at most until `end`.
    pub fn wait<T>(
        &self,
        end: Option<Instant>,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(result) = ready(&mut state) {
                return Some(result);
            }
            match end {
                None => self.changed.wait(&mut state),
                Some(end) if Instant::now() >= end => return None,
                Some(end) => {
                    let _ = self.changed.wait_until(&mut state, end);
                }
            }
        }
    }

    /// Writes a line to the daemon's log.
    pub fn log(&self, line: &str) {
        eprintln!("{} {line}", crate::store::now());
    }
}

/// Runs the daemon until it is asked to quit.
pub fn run(options: Options) -> Result<()> {
    // `up` blocks signals for itself; what the daemon starts must hear of them.
    SigSet::empty()
        .thread_set_mask()
        .context("cannot unblock signals")?;
    let paths = Paths::new(&options.name);
    let listener = UnixListener::bind(paths.socket()).context("cannot make the daemon's socket")?;
    let daemon = start(paths, options)?;
    daemon.log("up");
    for stream in listener.incoming() {
        let stream = stream.context("the daemon's socket failed")?;
        let daemon = daemon.clone();
        std::thread::spawn(move || {
            if let Err(error) = serve(&daemon, stream) {
                daemon.log(&format!("a request failed: {error:#}"));
            }
        });
    }
    Ok(())
}

fn start(paths: Paths, options: Options) -> Result<Arc<Daemon>> {
    for node in &options.nodes {
        for sub in ["run", "log", "tokens", "pods"] {
            fs::create_dir_all(paths.node(node).join(sub))
                .with_context(|| format!("cannot create node {node}"))?;
        }
    }
    netns::prepare()?;
    if options.mesh {
        bpffs::ensure(&paths)?;
    }
    network::build_nodes(&paths, &options.nodes)?;
    let issuer = Issuer::create(&paths.token_key(), &paths.jwks())?;
    let mut state = State::new(&paths, &options)?;
    state.create_cluster_objects()?;
    let daemon = Arc::new(Daemon {
        exe: std::env::current_exe().context("where am I?")?,
        zone: SharedZone::default(),
        state: Mutex::new(state),
        changed: Condvar::new(),
        kubelets: Mutex::new(BTreeMap::new()),
        paths,
        options,
        issuer,
    });
    for node in &daemon.options.nodes {
        dns::serve(&daemon.paths.node_netns(node), daemon.zone.clone())?;
        daemon.start_kubelet(node)?;
    }
    let sync = daemon.clone();
    std::thread::spawn(move || sync.sync_services());
    let trimmed = daemon.clone();
    std::thread::spawn(move || trimmed.trim_logs());
    if daemon.options.mesh {
        daemon.start_components()?;
    }
    Ok(daemon)
}

fn serve(daemon: &Arc<Daemon>, stream: UnixStream) -> Result<()> {
    let mut line = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    BufReader::new(&stream).read_line(&mut line)?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => match daemon.handle(request) {
            Ok(data) => Reply { error: None, data },
            Err(error) => Reply {
                error: Some(format!("{error:#}")),
                data: Value::Null,
            },
        },
        Err(error) => Reply {
            error: Some(format!("not a request: {error}")),
            data: Value::Null,
        },
    };
    let mut text = serde_json::to_string(&reply)?;
    text.push('\n');
    (&stream).write_all(text.as_bytes())?;
    if daemon.lock().closing {
        std::process::exit(0);
    }
    Ok(())
}
