//! The mesh's own processes: one agent and tunnel a node, one controller, kept running as a DaemonSet would.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::state::{COMPONENT_LABEL, ComponentRun};
use super::{Daemon, State};
use crate::container::Entry;
use crate::manifest::Key;
use crate::token::Claims;
use crate::{cgroup, ipam, netns};

/// Namespace of the mesh.
pub const SYSTEM: &str = "warren-system";
/// Components in the order in which they are started.
pub const COMPONENTS: [&str; 3] = ["control", "agent", "ztunnel"];
/// Pause before a component that died is started again.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long a component may take to serve.
const START_LIMIT: Duration = Duration::from_secs(30);

impl Daemon {
    /// Writes the components' Pods and tokens and starts the processes.
    pub(super) fn start_components(self: &Arc<Self>) -> Result<()> {
        for (index, node) in self.options.nodes.iter().enumerate() {
            for component in COMPONENTS {
                if component == "control" && index > 0 {
                    continue;
                }
                self.lock().components.insert(
                    (node.clone(), component.to_owned()),
                    ComponentRun::default(),
                );
                self.write_component_pod(node, component)?;
                let (daemon, node) = (self.clone(), node.clone());
                std::thread::spawn(move || daemon.keep_component(&node, component));
            }
        }
        let daemon = self.clone();
        std::thread::spawn(move || daemon.refresh_tokens());
        Ok(())
    }

    /// Stops, starts or restarts a component on one node or on all, and waits until it is as asked.
    pub(super) fn component(
        &self,
        action: &str,
        component: &str,
        node: Option<&str>,
        hard: bool,
    ) -> Result<Vec<String>> {
        let targets: Vec<(String, String)> = {
            let state = self.lock();
            let fits = |k: &&(String, String)| k.1 == component && node.is_none_or(|n| n == k.0);
            state.components.keys().filter(fits).cloned().collect()
        };
        if targets.is_empty() {
            if let Some(node) = node.filter(|n| !self.lock().nodes.iter().any(|known| known == n)) {
                bail!("there is no node {node}: `lab ps` lists all");
            }
            let place = node.map_or(String::new(), |n| format!(" on node {n}"));
            bail!(
                "this lab runs no {component}{place}: the controller runs on the first node only, `lab ps` lists all"
            );
        }
        let mut lines = Vec::new();
        for target in targets {
            self.one_component(action, &target, hard)?;
            lines.push(format!("{component} on node {}: {action} done", target.0));
        }
        Ok(lines)
    }

    fn one_component(&self, action: &str, target: &(String, String), hard: bool) -> Result<()> {
        let (pid, starts) = {
            let mut state = self.lock();
            let run = state.components.get_mut(target).context("gone")?;
            run.stopped = action == "stop";
            let pid = if action == "start" { None } else { run.pid };
            run.up &= pid.is_none();
            (pid, run.starts)
        };
        self.changed.notify_all();
        if let Some(pid) = pid {
            let signal = if hard {
                Signal::SIGKILL
            } else {
                Signal::SIGTERM
            };
            let _ = kill(Pid::from_raw(pid), signal);
        }
        let end = Instant::now() + START_LIMIT;
        let done = self.wait(Some(end), |s| {
            let run = s.components.get(target)?;
            let reached = match action {
                "stop" => run.pid.is_none(),
                "restart" => run.up && (pid.is_none() || run.starts > starts),
                _ => run.up,
            };
            reached.then_some(())
        });
        let (node, component) = target;
        let log = self.paths.component_log(node, component);
        done.with_context(|| {
            format!(
                "{action} of {component} on node {node} took over 30 s: see {}",
                log.display()
            )
        })
    }

    fn keep_component(self: Arc<Self>, node: &str, component: &'static str) {
        let key = (node.to_owned(), component.to_owned());
        loop {
            let go = self.wait(None, |s| {
                let stopped = s.components.get(&key).is_none_or(|c| c.stopped);
                (s.closing || !stopped).then_some(!s.closing)
            });
            if go != Some(true) {
                return;
            }
            match self.spawn_component(node, component) {
                Ok(mut child) => {
                    let pid = i32::try_from(child.id()).unwrap_or(0);
                    self.change(|s| {
                        set(s, &key, |c| {
                            c.pid = Some(pid);
                            c.starts += 1;
                        })
                    });
                    let watcher = self.clone();
                    let watched = key.clone();
                    std::thread::spawn(move || watcher.await_up(&watched, pid));
                    let status = child.wait();
                    if !self.lock().closing {
                        self.log(&format!("{component} on node {node} ended: {status:?}"));
                    }
                }
                Err(error) => self.log(&format!("{component} on node {node}: {error:#}")),
            }
            self.change(|s| {
                set(s, &key, |c| {
                    c.pid = None;
                    c.up = false;
                })
            });
            self.wait(Some(Instant::now() + BACK_OFF), |s| s.closing.then_some(()));
        }
    }

    fn await_up(self: &Arc<Self>, key: &(String, String), pid: i32) {
        loop {
            if self
                .lock()
                .components
                .get(key)
                .is_none_or(|c| c.pid != Some(pid))
            {
                return;
            }
            if self.serves(&key.0, &key.1) {
                self.change(|s| set(s, key, |c| c.up = c.pid == Some(pid)));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn serves(&self, node: &str, component: &str) -> bool {
        let run = self.paths.run(node);
        match component {
            "control" => run.join("root-cert.pem").exists() && self.listens(node, 15012),
            "agent" => UnixStream::connect(run.join("cni.sock")).is_ok(),
            _ => self.tunnel_ready(node),
        }
    }

    /// Whether somebody listens on a TCP port, found out without a connection that would be logged.
    fn listens(&self, node: &str, port: u16) -> bool {
        let tables = || {
            let v4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
            Ok(v4 + &fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default())
        };
        let text = netns::within(&self.paths.node_netns(node), tables).unwrap_or_default();
        let local = format!(":{port:04X}");
        text.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|l| l.ends_with(&local)) && words.nth(1) == Some("0A")
        })
    }

    fn tunnel_ready(&self, node: &str) -> bool {
        let ask = || crate::kubelet::http_ok("127.0.0.1:15021".parse()?, "/healthz/ready");
        netns::within(&self.paths.node_netns(node), ask).is_ok()
    }

    fn spawn_component(&self, node: &str, component: &str) -> Result<std::process::Child> {
        let binary = self.options.bin_dir.join(format!("warren-{component}"));
        if !binary.exists() {
            bail!(
                "there is no {}: build it first (`cargo xtask build`)",
                binary.display()
            );
        }
        let mut argv = vec![binary.to_string_lossy().into_owned()];
        argv.extend(self.arguments(node, component)?);
        for (_, flag, value) in self
            .options
            .settings
            .iter()
            .filter(|(c, ..)| c == component)
        {
            argv.push(format!("--{flag}={value}"));
        }
        let entry = Entry {
            cgroup: cgroup::system(node, component)?,
            netns: crate::paths::netns_path(&self.paths.node_netns(node)),
            cwd: "/".into(),
            argv,
            ..Entry::default()
        };
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.paths.component_log(node, component))?;
        let index = self.lock().node_index(node);
        Command::new(&self.exe)
            .args(["internal-run", &serde_json::to_string(&entry)?])
            .env("WARREN_POD_NAME", format!("warren-{component}-{node}"))
            .env("WARREN_POD_NAMESPACE", SYSTEM)
            .env("WARREN_POD_IP", ipam::node_v4(index).to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start it")
    }

    fn arguments(&self, node: &str, component: &str) -> Result<Vec<String>> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let first = &self.options.nodes[0];
        let index = self.lock().node_index(node);
        let server = ipam::node_v4(0);
        let mut pairs: Vec<(&str, String)> = vec![("run-dir", text(&self.paths.run(node)))];
        if component == "control" {
            let state = self.paths.dir().join("control");
            fs::create_dir_all(&state)?;
            pairs.extend([
                ("source", format!("dir:{}", text(&self.paths.api()))),
                ("state-dir", text(&state)),
                ("xds-addr", format!("{server}:15012")),
                ("debug-addr", format!("{server}:15014")),
                ("jwks", text(&self.paths.jwks())),
                ("token-issuer", crate::token::ISSUER.to_owned()),
            ]);
        } else {
            pairs.extend([
                ("node", node.to_owned()),
                ("xds", format!("https://{server}:15012")),
                (
                    "root-cert",
                    text(&self.paths.run(first).join("root-cert.pem")),
                ),
                ("token", text(&self.paths.token(node, component))),
            ]);
        }
        if component == "agent" {
            pairs.extend([
                ("state-dir", text(&self.paths.node_state(node))),
                ("cri-socket", text(&self.paths.cri_socket(node))),
                ("cgroup", text(&cgroup::node(node)?)),
                ("tunnel-cgroup", text(&cgroup::system(node, "ztunnel")?)),
                ("kubelet-cgroup", text(&cgroup::system(node, "kubelet")?)),
                ("bpf-object", text(&self.options.bpf_object)),
                ("metrics-addr", format!("{}:15030", ipam::node_v4(index))),
            ]);
        }
        let overridden = |flag: &str| {
            self.options
                .settings
                .iter()
                .any(|(c, f, _)| c == component && f == flag)
        };
        pairs.retain(|(flag, _)| !overridden(flag));
        Ok(pairs
            .into_iter()
            .map(|(flag, value)| format!("--{flag}={value}"))
            .collect())
    }

    fn write_component_pod(&self, node: &str, component: &str) -> Result<()> {
        let account = format!("warren-{component}");
        let account_uid = self.account_uid(SYSTEM, &account);
        let name = format!("warren-{component}-{node}");
        let mut state = self.lock();
        let index = state.node_index(node);
        state.store.put(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": SYSTEM, "labels": {"app": account, COMPONENT_LABEL: component}},
            "spec": {"nodeName": node, "hostNetwork": true, "serviceAccountName": account,
                "containers": [{"name": component, "image": ""}]},
            "status": {"phase": "Running", "hostIP": ipam::node_v4(index).to_string(),
                "podIP": ipam::node_v4(index).to_string(),
                "podIPs": [{"ip": ipam::node_v4(index).to_string()}, {"ip": ipam::node_v6(index).to_string()}],
                "conditions": [{"type": "Ready", "status": "True"}]}}))?;
        drop(state);
        // The agents attach here before the first pod of their node exists.
        cgroup::create(&cgroup::system(node, component)?)?;
        cgroup::create(&cgroup::system(node, "kubelet")?)?;
        self.write_token(node, component, &account_uid)
    }

    fn write_token(&self, node: &str, component: &str, account_uid: &str) -> Result<()> {
        let name = format!("warren-{component}-{node}");
        let pod_uid = {
            let state = self.lock();
            let pod = state.store.get(&Key::core("Pod", SYSTEM, &name));
            pod.map_or("", crate::store::uid).to_owned()
        };
        let token = self.issuer.issue(&Claims {
            namespace: SYSTEM.into(),
            service_account: (format!("warren-{component}"), account_uid.to_owned()),
            pod: Some((name, pod_uid)),
            node: Some((node.to_owned(), self.node_uid(node))),
            audiences: vec!["warren-ca".into()],
            lifetime: self.token_lifetime(),
        })?;
        let path = self.paths.token(node, component);
        let fresh = path.with_extension("new");
        fs::write(&fresh, token)?;
        fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Seconds that a projected token lives: an hour, or `--set lab.token-ttl=SECONDS`.
    fn token_lifetime(&self) -> i64 {
        let set = self
            .options
            .settings
            .iter()
            .find(|(c, f, _)| c == "lab" && f == "token-ttl");
        set.and_then(|(.., v)| v.trim_end_matches('s').parse().ok())
            .unwrap_or(3600)
    }

    fn refresh_tokens(self: Arc<Self>) {
        let pause =
            Duration::from_secs(u64::try_from(self.token_lifetime()).unwrap_or(3600).max(2) / 2);
        while self
            .wait(Some(Instant::now() + pause), |s| s.closing.then_some(()))
            .is_none()
        {
            let all: Vec<(String, String)> = self.lock().components.keys().cloned().collect();
            for (node, component) in all {
                let uid = self.account_uid(SYSTEM, &format!("warren-{component}"));
                if let Err(error) = self.write_token(&node, &component, &uid) {
                    self.log(&format!(
                        "cannot refresh the token of {component} on node {node}: {error:#}"
                    ));
                }
            }
        }
    }
}

fn set(state: &mut State, key: &(String, String), work: impl FnOnce(&mut ComponentRun)) {
    if let Some(run) = state.components.get_mut(key) {
        work(run);
    }
}
