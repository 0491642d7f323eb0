//! Containers of a pod: started, watched, started again.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Daemon;
use super::state::PodRun;
use crate::cgroup;
use crate::container::Entry;
use crate::manifest::Key;
use crate::podspec::{ContainerPlan, PodPlan, Purpose, Restart};

/// `PATH` of a container that sets none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Daemon {
    /// Runs the init containers, then starts a thread for each container.
    pub(super) fn start_containers(
        self: &Arc<Self>,
        key: &Key,
        plan: &PodPlan,
    ) -> Vec<JoinHandle<()>> {
        for init in &plan.init {
            if !self.run_init(key, init, plan.restart) {
                return Vec::new();
            }
        }
        let start = |(index, container): (usize, &ContainerPlan)| {
            let (daemon, key, container, restart) =
                (self.clone(), key.clone(), container.clone(), plan.restart);
            std::thread::spawn(move || daemon.keep_running(&key, index, &container, restart))
        };
        plan.containers.iter().enumerate().map(start).collect()
    }

    /// How to run `plan` in the pod that `run` describes.
    pub(super) fn entry(&self, key: &Key, run: &PodRun, plan: &ContainerPlan) -> Result<Entry> {
        Ok(Entry {
            cgroup: cgroup::pod(&run.node, &key.namespace, &key.name)?,
            sandbox: run.sandbox,
            netns: crate::paths::netns_path(&run.link.netns),
            cwd: plan.cwd.clone(),
            uid: plan.user.0,
            gid: plan.user.1,
            argv: plan.argv.clone(),
        })
    }

    fn run_init(self: &Arc<Self>, key: &Key, plan: &ContainerPlan, restart: Restart) -> bool {
        let mut pause = Duration::from_millis(200);
        loop {
            self.update_pod(key, |run| run.reason = format!("Init: {}", plan.name));
            let ended = self
                .spawn(key, plan)
                .and_then(|mut c| c.wait().context("cannot wait for it"));
            let why = match ended {
                Ok(status) if status.success() => return true,
                Ok(status) => format!("Init: {} ended with {status}", plan.name),
                Err(error) => format!("Init: {}: {error:#}", plan.name),
            };
            let last = restart == Restart::Never;
            self.update_pod(key, |run| {
                run.reason = why;
                run.failed = last;
            });
            if last || self.pause(key, pause) {
                return false;
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    fn keep_running(
        self: Arc<Self>,
        key: &Key,
        index: usize,
        plan: &ContainerPlan,
        restart: Restart,
    ) {
        let mut pause = Duration::from_millis(200);
        loop {
            let began = Instant::now();
            let code = self.run_once(key, index, plan);
            let again = match restart {
                Restart::Always => true,
                Restart::OnFailure => code != 0,
                Restart::Never => false,
            };
            self.update_pod(key, |run| {
                let container = &mut run.containers[index];
                container.pid = None;
                container.exit = Some(code);
                container.finished = !again;
            });
            if began.elapsed() > Duration::from_secs(10) {
                pause = Duration::from_millis(200);
            }
            if !again || self.pause(key, pause) {
                return;
            }
            pause = (pause * 2).min(Duration::from_secs(5));
            self.update_pod(key, |run| run.containers[index].restarts += 1);
        }
    }

    /// Runs the container to its end and returns its exit status.
    fn run_once(self: &Arc<Self>, key: &Key, index: usize, plan: &ContainerPlan) -> i32 {
        let mut child = match self.spawn(key, plan) {
            Ok(child) => child,
            Err(error) => {
                self.log(&format!("{key}: container {}: {error:#}", plan.name));
                return 128;
            }
        };
        let Ok(pid) = i32::try_from(child.id()) else {
            return 128;
        };
        let gated = plan
            .probes
            .iter()
            .any(|p| matches!(p.purpose, Purpose::Readiness | Purpose::Startup));
        let watch = format!("{}/{}/{}/{pid}", key.namespace, key.name, plan.name);
        // What cannot be executed ends at once: it must not count as running, not even for a moment.
        std::thread::sleep(Duration::from_millis(10));
        if let Ok(Some(status)) = child.try_wait() {
            return exit_code(status);
        }
        self.update_pod(key, |run| {
            run.containers[index].pid = Some(pid);
            run.containers[index].ready = gated.then_some(false);
            if run.stopping {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
        });
        self.watch(key, plan, &watch);
        let status = child.wait();
        // Children that it left behind end with it, as in a container.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        self.unwatch(key, &watch);
        status.map_or(128, exit_code)
    }

    fn spawn(&self, key: &Key, plan: &ContainerPlan) -> Result<std::process::Child> {
        let (run, _) = self.snapshot(key).context("the pod is gone")?;
        let entry = self.entry(key, &run, plan)?;
        let dir = self.paths.pod(&run.node, &key.namespace, &key.name);
        fs::create_dir_all(&dir)?;
        let log = append(&self.paths.container_log(
            &run.node,
            &key.namespace,
            &key.name,
            &plan.name,
        ))?;
        Command::new(&self.exe)
            .args(["internal-run", &serde_json::to_string(&entry)?])
            .env_clear()
            .envs(base_env(&plan.env, &key.name))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start it")
    }

    /// Waits before another try; true when the pod is to go.
    fn pause(&self, key: &Key, pause: Duration) -> bool {
        let gone = self.wait(Some(Instant::now() + pause), |s| {
            (s.closing || s.pods.get(key).is_none_or(|r| r.stopping)).then_some(())
        });
        gone.is_some()
    }
}

/// The environment of a process in a pod.
pub(super) fn base_env(own: &[(String, String)], pod: &str) -> Vec<(String, String)> {
    let mut env = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
        ("HOSTNAME".to_owned(), pod.to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ];
    env.extend(own.iter().cloned());
    env
}

fn append(path: &std::path::Path) -> Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("cannot write {}", path.display()))
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
