//! Where pods run, driven from outside by commands: the lab's, or the test cluster's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{Done, LIMIT, Running, run};

/// Name of the lab that the scenarios bring up.
pub const NAME: &str = "scenarios";

/// Where labs keep their state.
const ROOT: &str = "/run/warren-lab";

const UP_LIMIT: Duration = Duration::from_secs(90);
const DOWN_LIMIT: Duration = Duration::from_secs(60);

/// A pod by namespace and name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pod {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name; the part behind the last `-` is its node.
    pub name: &'static str,
}

impl Pod {
    /// A pod of the scenarios' manifests.
    pub const fn new(namespace: &'static str, name: &'static str) -> Self {
        Self { namespace, name }
    }

    /// The node that it runs on.
    pub fn node(&self) -> &'static str {
        self.name.rsplit('-').next().unwrap_or("a")
    }
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a scenario's pods run on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// Network namespaces, with everything of the mesh beside them.
    Lab,
    /// The Kubernetes of `cargo xtask cluster`, with the mesh on it. Scenarios see pods, nodes and objects, no more.
    Cluster,
}

/// A running lab, or cluster.
#[derive(Clone, Debug)]
pub struct Lab {
    bin: PathBuf,
    name: String,
    place: Place,
}

impl Lab {
    /// The lab called `name`, running or not; its binaries are beside this one.
    pub fn named(name: &str) -> Result<Self> {
        Self::at(Place::Lab, name)
    }

    /// The lab or cluster called `name`.
    pub fn at(place: Place, name: &str) -> Result<Self> {
        let exe = std::env::current_exe().context("cannot tell where this program is")?;
        let bin = exe
            .parent()
            .context("this program has no directory")?
            .to_owned();
        Ok(Self {
            bin,
            name: name.to_owned(),
            place,
        })
    }

    /// What it is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// A limit on what takes some milliseconds in a lab and, by the many steps of a Kubernetes, more on a cluster.
    pub fn patience(&self, limit: Duration) -> Duration {
        match self.place {
            Place::Lab => limit,
            Place::Cluster => limit * 6,
        }
    }

    /// Runs the cluster's kubectl.
    pub fn kubectl(&self, argv: &[&str]) -> Result<Done> {
        run(self.command(&[&["kubectl"], argv].concat()), UP_LIMIT)
    }

    /// Brings it up with two nodes, `a` and `b`; returns what it printed.
    pub fn up(&self, dir: &Path, options: &[String]) -> Result<String> {
        let mut command = self.command(&["up", "--nodes", "a,b"]);
        command.arg("--dir").arg(dir).args(options);
        run(command, UP_LIMIT)?
            .ok()
            .context("the lab did not come up")
    }

    /// The lab that is up on this machine or was left by a crash.
    pub fn present() -> Option<String> {
        let labs = std::fs::read_dir(ROOT).ok()?;
        labs.flatten().find_map(|l| {
            l.path()
                .is_dir()
                .then(|| l.file_name().to_string_lossy().into_owned())
        })
    }

    /// Takes it down and leaves nothing behind.
    pub fn down(&self) -> Result<()> {
        run(self.command(&["down"]), DOWN_LIMIT)?
            .ok()
            .map(drop)
            .context("the lab did not go down")
    }

    /// Kills its daemon; everything that the daemon started is left.
    pub fn crash(&self) -> Result<()> {
        let file = self.dir().join("daemon.pid");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let pid = Pid::from_raw(text.trim().parse().context("its daemon's process id")?);
        kill(pid, Signal::SIGKILL).context("cannot kill its daemon")
    }

    /// What a lab should have taken with it and did not: network namespaces, state, pins, cgroups with or without processes.
    pub fn leftovers(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let cgroups = mounts
            .lines()
            .map(|l| l.split(' ').collect::<Vec<_>>())
            .filter(|words| words.get(2) == Some(&"cgroup2"))
            .map(|words| (words[1], "warren-lab".to_owned()));
        let places = [
            ("/run/netns", format!("warren-{}-", self.name)),
            (ROOT, self.name.clone()),
            ("/sys/fs/bpf/warren", String::new()),
        ];
        let mut left = Vec::new();
        for (dir, prefix) in places.into_iter().chain(cgroups) {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
            left.extend(
                names
                    .filter(|n| n.starts_with(&prefix))
                    .map(|n| format!("{dir}/{n}")),
            );
        }
        left
    }

    /// Runs a command in a pod.
    pub fn exec(&self, pod: Pod, argv: &[&str]) -> Result<Done> {
        self.exec_within(pod, argv, LIMIT)
    }

    /// The same with another limit.
    pub fn exec_within(&self, pod: Pod, argv: &[&str], limit: Duration) -> Result<Done> {
        run(self.exec_command(pod, argv), limit)
    }

    /// Starts a command in a pod.
    pub fn start(&self, pod: Pod, argv: &[&str]) -> Result<Running> {
        let running = Running::start(self.exec_command(pod, argv))?;
        Ok(match self.place {
            Place::Lab => running,
            // What kubectl started outlives it.
            Place::Cluster => {
                let pattern = format!("^{}$", argv.join(" "));
                let end = ["pkill", "-KILL", "-f", "--", &pattern];
                running.ended_by(self.exec_command(pod, &end))
            }
        })
    }

    /// Runs a command in a node's network namespace.
    pub fn node(&self, node: &str, argv: &[&str]) -> Result<Done> {
        run(self.node_command(node, argv), LIMIT)
    }

    /// Starts a command in a node's network namespace.
    pub fn start_on_node(&self, node: &str, argv: &[&str]) -> Result<Running> {
        Running::start(self.node_command(node, argv))
    }

    /// Runs a command in the network namespace outside the cluster.
    pub fn outside(&self, argv: &[&str]) -> Result<Done> {
        self.node("outside", argv)
    }

    /// Applies a manifest.
    pub fn apply(&self, file: &Path) -> Result<Done> {
        let mut command = self.objects(&["apply", "-f"]);
        command.arg(file);
        run(command, LIMIT)
    }

    /// Deletes the objects of a manifest.
    pub fn delete(&self, file: &Path) -> Result<Done> {
        let mut command = self.objects(&["delete", "-f"]);
        command.arg(file);
        run(command, LIMIT)
    }

    /// Restarts `agent`, `ztunnel` or `control`; `kill` means SIGKILL.
    pub fn restart(&self, what: &str, node: &str, kill: bool) -> Result<()> {
        let mut command = self.command(&["restart", what, "--node", node]);
        if kill {
            command.arg("--kill");
        }
        run(command, LIMIT)?.ok().map(drop)
    }

    /// Runs any command of the lab's own.
    pub fn lab(&self, argv: &[&str]) -> Result<Done> {
        run(self.command(argv), LIMIT)
    }

    /// Runs the `warren` CLI against this lab.
    pub fn warren(&self, argv: &[&str]) -> Result<Done> {
        let mut command = Command::new(self.bin.join("warren"));
        command.args(["--lab", &self.name]).args(argv);
        run(command, LIMIT)
    }

    /// Path of a program built beside this one.
    pub fn program(&self, name: &str) -> String {
        self.bin.join(name).to_string_lossy().into_owned()
    }

    /// The command line that a person would type to be in a pod.
    pub fn how_to_enter(&self) -> String {
        let how = match self.place {
            Place::Lab => "lab",
            Place::Cluster => "cluster kubectl",
        };
        format!("cargo xtask {how} exec -n shop client-a -- bash")
    }

    /// State directory of the lab.
    pub fn dir(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name)
    }

    fn exec_command(&self, pod: Pod, argv: &[&str]) -> Command {
        let mut command = self.objects(&["exec", "-n", pod.namespace, pod.name, "--"]);
        command.args(argv);
        command
    }

    fn node_command(&self, node: &str, argv: &[&str]) -> Command {
        let mut command = self.command(&["node", node, "--"]);
        command.args(argv);
        command
    }

    /// What the lab and kubectl have in common.
    fn objects(&self, arguments: &[&str]) -> Command {
        match self.place {
            Place::Lab => self.command(arguments),
            Place::Cluster => self.command(&[&["kubectl"], arguments].concat()),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = match self.place {
            Place::Lab => "warren-lab",
            Place::Cluster => "warren-cluster",
        };
        let mut command = Command::new(self.bin.join(program));
        command.args(["--name", &self.name]).args(arguments);
        command
    }
}
