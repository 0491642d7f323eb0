//! The daemon's side of the kubelets: one process a node, fed with probes, reporting verdicts.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Daemon;
use super::containers::base_env;
use crate::cgroup;
use crate::container::Entry;
use crate::kubelet::{Order, Verdict};
use crate::manifest::Key;
use crate::podspec::{ContainerPlan, Purpose};

impl Daemon {
    /// Starts the kubelet of a node, in its network namespace and its own cgroup.
    pub(super) fn start_kubelet(self: &Arc<Self>, node: &str) -> Result<()> {
        let entry = Entry {
            cgroup: cgroup::system(node, "kubelet")?,
            sandbox: None,
            netns: crate::paths::netns_path(&self.paths.node_netns(node)),
            cwd: "/".into(),
            argv: vec![
                self.exe.to_string_lossy().into_owned(),
                "internal-kubelet".into(),
            ],
            ..Entry::default()
        };
        let log = fs::File::create(self.paths.component_log(node, "kubelet"))?;
        let mut command = Command::new(&self.exe);
        command
            .args(["internal-run", &serde_json::to_string(&entry)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        cgroup::create(&entry.cgroup)?;
        let mut child = command.spawn().context("cannot start a kubelet")?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = child.stdout.take().context("no stdout")?;
        self.kubelets.lock().insert(node.to_owned(), stdin);
        let daemon = self.clone();
        std::thread::spawn(move || {
            daemon.read_verdicts(stdout);
            let _ = child.wait();
        });
        Ok(())
    }

    /// Lets the kubelet probe a container; `watch` names this run of it.
    pub(super) fn watch(&self, key: &Key, plan: &ContainerPlan, watch: &str) {
        if plan.probes.is_empty() {
            return;
        }
        let Some((run, _)) = self.snapshot(key) else {
            return;
        };
        let Ok(entry) = self.entry(key, &run, plan) else {
            return;
        };
        let order = Order::Watch {
            watch: watch.to_owned(),
            addresses: run.addresses(),
            entry: Box::new(entry),
            env: base_env(&plan.env, &key.name),
            probes: plan.probes.clone(),
        };
        self.order(&run.node, &order);
    }

    /// Ends the probes of a run.
    pub(super) fn unwatch(&self, key: &Key, watch: &str) {
        let node = self.lock().pods.get(key).map(|r| r.node.clone());
        if let Some(node) = node {
            self.order(
                &node,
                &Order::Forget {
                    watch: watch.to_owned(),
                },
            );
        }
    }

    fn order(&self, node: &str, order: &Order) {
        let mut kubelets = self.kubelets.lock();
        let Some(stdin) = kubelets.get_mut(node) else {
            return;
        };
        let line = serde_json::to_string(order).unwrap_or_default() + "\n";
        if let Err(error) = stdin.write_all(line.as_bytes()) {
            self.log(&format!(
                "the kubelet of node {node} does not listen: {error}"
            ));
        }
    }

    fn read_verdicts(self: &Arc<Self>, stdout: ChildStdout) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            match serde_json::from_str::<Verdict>(&line) {
                Ok(verdict) => self.take_verdict(&verdict),
                Err(error) => self.log(&format!("a kubelet said nonsense: {error}")),
            }
        }
    }

    fn take_verdict(self: &Arc<Self>, verdict: &Verdict) {
        let parts: Vec<&str> = verdict.watch.split('/').collect();
        let [namespace, pod, container, pid] = parts[..] else {
            return;
        };
        let Ok(pid) = pid.parse::<i32>() else { return };
        let key = Key::core("Pod", namespace, pod);
        if verdict.purpose != Purpose::Readiness && !verdict.good {
            self.log(&format!(
                "{key}: container {container} failed its {:?} probe: {}",
                verdict.purpose, verdict.detail
            ));
            end_process(pid);
            return;
        }
        if verdict.purpose == Purpose::Liveness {
            return;
        }
        self.update_pod(&key, |run| {
            let current = run
                .containers
                .iter_mut()
                .find(|c| c.name == container && c.pid == Some(pid));
            if let Some(current) = current {
                current.ready = Some(verdict.good);
            }
        });
    }
}

fn end_process(pid: i32) {
    let _ = killpg(Pid::from_raw(pid), Signal::SIGTERM);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    });
}
