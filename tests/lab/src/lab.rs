//! The lab as a value, for tests: up when it is made, down when it is dropped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::manifest::Manifests;
use crate::paths::{Paths, netns_path};
use crate::process;
use crate::protocol::{Request, call, refusals};

/// How a lab is started, beyond its manifests.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Name.
    pub name: String,
    /// Nodes; empty for those that the manifests name.
    pub nodes: Vec<String>,
    /// Whether the mesh's processes run.
    pub mesh: bool,
    /// Whether nftables translate Service addresses.
    pub kube_proxy: bool,
    /// `COMPONENT.FLAG=VALUE`, see `up --set`.
    pub settings: Vec<String>,
    /// Leave the lab up when the value is dropped.
    pub keep: bool,
    /// The lab's binary; `warren-lab` beside the running program by default.
    pub binary: Option<PathBuf>,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            name: "lab".into(),
            nodes: Vec::new(),
            mesh: true,
            kube_proxy: true,
            settings: Vec::new(),
            keep: false,
            binary: None,
        }
    }
}

/// What a command left behind.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Exit status; 128 and the signal's number when one ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that had to succeed.
    pub fn ok(self) -> Result<String> {
        if self.status != 0 {
            bail!(
                "exit status {}: {}{}",
                self.status,
                self.stderr.trim(),
                self.stdout.trim()
            );
        }
        Ok(self.stdout)
    }
}

/// A running lab.
pub struct Lab {
    /// Where its files are.
    pub paths: Paths,
    binary: PathBuf,
    keep: bool,
}

impl Lab {
    /// Starts a lab from a directory or a file of manifests.
    pub fn up(manifests: &Path, options: &UpOptions) -> Result<Self> {
        process::require_root()?;
        let binary = options.binary.clone().map_or_else(beside, Ok)?;
        let lab = Self {
            paths: Paths::new(&options.name),
            binary,
            keep: options.keep,
        };
        let mut arguments = vec!["up".to_owned(), "--name".into(), options.name.clone()];
        arguments.extend(["--dir".into(), manifests.to_string_lossy().into_owned()]);
        if !options.nodes.is_empty() {
            arguments.extend(["--nodes".into(), options.nodes.join(",")]);
        }
        if !options.mesh {
            arguments.push("--without-mesh".into());
        }
        if !options.kube_proxy {
            arguments.push("--no-kube-proxy".into());
        }
        for setting in &options.settings {
            arguments.extend(["--set".into(), setting.clone()]);
        }
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        lab.command(&words).ok()?;
        Ok(lab)
    }

    /// Starts a lab from YAML text.
    pub fn up_text(yaml: &str, options: &UpOptions) -> Result<Self> {
        let file = std::env::temp_dir().join(format!("warren-lab-{}.yaml", crate::store::uuid()));
        std::fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
        let lab = Self::up(&file, options);
        let _ = std::fs::remove_file(&file);
        lab
    }

    /// Runs a command in a pod (or an owner's first pod) to its end.
    pub fn exec(&self, namespace: &str, pod: &str, argv: &[&str]) -> Output {
        let mut words = vec!["exec", "-n", namespace, pod, "--"];
        words.extend(argv);
        self.command(&words)
    }

    /// Starts a command in a pod. Its standard output and error are piped.
    pub fn exec_bg(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.binary);
        command
            .args(["exec", "-n", namespace, pod, "--"])
            .args(argv);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().context("cannot start warren-lab")
    }

    /// Runs a command in a node's network namespace (`outside` is a client beyond the nodes).
    pub fn node_exec(&self, node: &str, argv: &[&str]) -> Output {
        let mut words = vec!["node", node, "--"];
        words.extend(argv);
        self.command(&words)
    }

    /// Applies YAML text.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let objects = Manifests::parse("a manifest of this test", yaml).all_good()?;
        let leftovers = Vec::new();
        let request = Request::Apply { objects, leftovers };
        nothing_refused(&call(&self.paths.socket(), &request)?)
    }

    /// Deletes what YAML text names, and waits until its pods are gone.
    pub fn delete(&self, yaml: &str) -> Result<()> {
        let objects = Manifests::parse("a manifest of this test", yaml).all_good()?;
        let request = Request::Delete {
            objects,
            files: Vec::new(),
            now: true,
        };
        nothing_refused(&call(&self.paths.socket(), &request)?)
    }

    /// Sets labels of an object; `None` removes one.
    pub fn label(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        labels: &[(&str, Option<&str>)],
    ) -> Result<()> {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.map_or(Value::Null, Value::from)))
            .collect();
        let request = Request::Label {
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            labels,
        };
        call(&self.paths.socket(), &request).map(drop)
    }

    /// Waits until every pod is ready.
    pub fn wait_ready(&self, seconds: u64) -> Result<Value> {
        call(&self.paths.socket(), &Request::Wait { seconds })
    }

    /// Pods and components, see `lab ps --json`.
    pub fn ps(&self) -> Result<Value> {
        call(&self.paths.socket(), &Request::Ps)
    }

    /// Restarts a component (`agent`, `ztunnel`, `control`) and waits until it serves.
    pub fn restart(&self, component: &str, node: Option<&str>, kill: bool) -> Result<()> {
        self.component("restart", component, node, kill)
    }

    /// Stops a component until [`Self::start`].
    pub fn stop(&self, component: &str, node: Option<&str>, kill: bool) -> Result<()> {
        self.component("stop", component, node, kill)
    }

    /// Starts a stopped component and waits until it serves.
    pub fn start(&self, component: &str, node: Option<&str>) -> Result<()> {
        self.component("start", component, node, false)
    }

    /// What a container wrote.
    pub fn logs(&self, namespace: &str, pod: &str) -> Result<String> {
        self.command(&["logs", "-n", namespace, pod]).ok()
    }

    /// What a component of a node wrote.
    pub fn component_log(&self, node: &str, component: &str) -> String {
        std::fs::read_to_string(self.paths.component_log(node, component)).unwrap_or_default()
    }

    /// Path of a pod's network namespace.
    pub fn pod_netns(&self, namespace: &str, pod: &str) -> PathBuf {
        netns_path(&self.paths.pod_netns(namespace, pod))
    }

    /// Path of a node's network namespace.
    pub fn node_netns(&self, node: &str) -> PathBuf {
        netns_path(&self.paths.node_netns(node))
    }

    /// Runs `warren-lab` with the given arguments.
    pub fn command(&self, arguments: &[&str]) -> Output {
        run(Command::new(&self.binary)
            .args(arguments)
            .stdin(Stdio::null()))
    }

    /// Removes the lab now.
    pub fn down(mut self) -> Result<()> {
        self.keep = true;
        self.command(&["down"]).ok().map(drop)
    }

    fn component(
        &self,
        action: &str,
        component: &str,
        node: Option<&str>,
        kill: bool,
    ) -> Result<()> {
        let request = Request::Component {
            action: action.into(),
            component: component.into(),
            node: node.map(str::to_owned),
            kill,
        };
        call(&self.paths.socket(), &request).map(drop)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.command(&["down"]).ok() {
            let _ = writeln!(std::io::stderr(), "the lab could not be removed: {error:#}");
        }
    }
}

fn beside() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("where am I?")?;
    let places = exe
        .ancestors()
        .skip(1)
        .take(2)
        .map(|d| d.join("warren-lab"));
    let found = places.into_iter().find(|p| p.exists());
    found.with_context(|| {
        format!(
            "there is no warren-lab beside {}: build it first",
            exe.display()
        )
    })
}

fn run(command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => Output {
            status: exit_code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => Output {
            status: 127,
            stdout: String::new(),
            stderr: format!("cannot start warren-lab: {error}"),
        },
    }
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn nothing_refused(answer: &Value) -> Result<()> {
    let refused: Vec<&str> = refusals(answer).collect();
    if refused.is_empty() {
        return Ok(());
    }
    bail!("{}", refused.join("\n"))
}
