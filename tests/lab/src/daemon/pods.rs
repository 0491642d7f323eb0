//! The life of one pod, on a thread of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Daemon;
use super::state::{ContainerRun, PodRun};
use crate::cni::{self, Verb};
use crate::container::{Bind, PodFiles, SandboxSpec};
use crate::manifest::{Key, labels, text};
use crate::podspec::{self, PodPlan, References};
use crate::token::Claims;
use crate::{cgroup, ipam, network, volumes};

impl Daemon {
    /// Starts a pod, waits until it is to go, and takes it down.
    pub(super) fn run_pod(self: Arc<Self>, key: &Key) {
        let mut containers = Vec::new();
        match self.start_pod_parts(key) {
            Ok(Some(plan)) => containers = self.start_containers(key, &plan),
            Ok(None) => {}
            Err(error) => {
                self.log(&format!("{key}: {error:#}"));
                self.update_pod(key, |run| {
                    run.reason = format!("Error: {error:#}");
                    run.failed = true;
                });
            }
        }
        let gone = self.wait(None, |s| {
            let stopping = s.pods.get(key).is_none_or(|r| r.stopping);
            (stopping || s.closing).then_some(s.closing)
        });
        if gone == Some(true) {
            return;
        }
        if let Err(error) = self.stop_pod_parts(key) {
            self.log(&format!("{key}: cannot be taken down: {error:#}"));
        }
        for thread in containers {
            let _ = thread.join();
        }
        self.forget_pod(key);
    }

    /// Changes a pod's run-time state and its status object.
    pub(super) fn update_pod(self: &Arc<Self>, key: &Key, work: impl FnOnce(&mut PodRun)) {
        let published = self.change(|state| {
            if let Some(run) = state.pods.get_mut(key) {
                work(run);
            }
            state.publish(key)
        });
        if let Err(error) = published {
            self.log(&format!("{key}: cannot write its status: {error:#}"));
        }
    }

    fn start_pod_parts(self: &Arc<Self>, key: &Key) -> Result<Option<PodPlan>> {
        let (run, pod) = self.snapshot(key).context("the pod is gone")?;
        if !run.host_network {
            network::attach_pod(&run.link)?;
        }
        self.update_pod(key, |run| run.networked = true);
        let (_, pod_with_status) = self.snapshot(key).context("the pod is gone")?;
        let plan = self.plan(key, &pod_with_status)?;
        let names: Vec<String> = plan.containers.iter().map(|c| c.name.clone()).collect();
        self.update_pod(key, |run| {
            run.containers = names
                .into_iter()
                .map(|name| ContainerRun {
                    name,
                    ..ContainerRun::default()
                })
                .collect();
        });
        if self.options.mesh && !run.host_network && !self.cni_add(key, &run)? {
            return Ok(None);
        }
        let sandbox = self.start_sandbox(key, &run, &pod, &plan)?;
        self.update_pod(key, |run| {
            run.sandbox = Some(sandbox);
            run.reason = "ContainerCreating".into();
        });
        Ok(Some(plan))
    }

    /// What the pod's manifest asks for.
    pub(super) fn plan(&self, key: &Key, pod: &Value) -> Result<PodPlan> {
        let entries = |kind: &str, name: &str| {
            let state = self.lock();
            let object = state.store.get(&Key::core(kind, &key.namespace, name))?;
            let text = |(k, v): (String, Vec<u8>)| Some((k, String::from_utf8(v).ok()?));
            Some(
                volumes::entries(object)
                    .into_iter()
                    .filter_map(text)
                    .collect(),
            )
        };
        podspec::plan(&References {
            pod,
            entries: &entries,
        })
    }

    /// The pod's run-time state and object.
    pub(super) fn snapshot(&self, key: &Key) -> Option<(PodRun, Value)> {
        let state = self.lock();
        Some((state.pods.get(key)?.clone(), state.store.get(key)?.clone()))
    }

    fn cni_request(&self, key: &Key, run: &PodRun, verb: Verb) -> Value {
        let state = self.lock();
        let pod = state.store.get(key);
        let namespace = state.store.get(&Key::core("Namespace", "", &key.namespace));
        let addresses: Vec<String> = run.addresses().iter().map(ToString::to_string).collect();
        let of = |o: Option<&Value>| o.map(labels).unwrap_or_default();
        json!({"op": verb.word(), "namespace": key.namespace, "name": key.name,
            "uid": pod.map_or("", |p| text(p, "/metadata/uid")),
            "netns": crate::paths::netns_path(&run.link.netns), "addresses": addresses,
            "pod_labels": of(pod), "namespace_labels": of(namespace)})
    }

    /// Asks the agent until it agrees; false when the pod is deleted meanwhile.
    fn cni_add(self: &Arc<Self>, key: &Key, run: &PodRun) -> Result<bool> {
        let socket = self.paths.run(&run.node).join("cni.sock");
        let mut pause = Duration::from_millis(20);
        loop {
            match cni::call(&socket, &self.cni_request(key, run, Verb::Add)) {
                Ok(_) => return Ok(true),
                Err(error) => self.update_pod(key, |run| {
                    run.reason = format!("waits for the agent: {error:#}")
                }),
            }
            let end = Instant::now() + pause;
            pause = (pause * 2).min(Duration::from_millis(500));
            let stop = self.wait(Some(end), |s| {
                (s.closing || s.pods.get(key).is_none_or(|r| r.stopping)).then_some(())
            });
            if stop.is_some() {
                return Ok(false);
            }
        }
    }

    fn start_sandbox(&self, key: &Key, run: &PodRun, pod: &Value, plan: &PodPlan) -> Result<i32> {
        let dir = self.paths.pod(&run.node, &key.namespace, &key.name);
        let mut binds = self
            .pod_files(key, run, pod, plan)?
            .write(&dir)
            .context("cannot write the pod's files")?;
        binds.extend(self.volumes(key, pod, &dir)?);
        let spec = SandboxSpec {
            cgroup: cgroup::pod(&run.node, &key.namespace, &key.name)?,
            netns: crate::paths::netns_path(&run.link.netns),
            hostname: plan.hostname.clone(),
            binds,
            mountpoints: self.paths.dir().join("mountpoints"),
        };
        cgroup::create(&spec.cgroup)?;
        let file = dir.join("sandbox.json");
        fs::write(&file, serde_json::to_vec(&spec)?)?;
        let log = fs::File::create(dir.join("sandbox.log"))?;
        let mut child = Command::new(&self.exe)
            .args(["internal-sandbox".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the sandbox")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        if line.trim() != "ready" {
            let _ = child.wait();
            bail!(
                "the sandbox failed: {}",
                fs::read_to_string(dir.join("sandbox.log"))
                    .unwrap_or_default()
                    .trim()
            );
        }
        let pid = i32::try_from(child.id()).context("a process id out of range")?;
        std::thread::spawn(move || child.wait());
        Ok(pid)
    }

    fn pod_files(&self, key: &Key, run: &PodRun, pod: &Value, plan: &PodPlan) -> Result<PodFiles> {
        let account = text(pod, "/spec/serviceAccountName");
        let token = self.issuer.issue(&Claims {
            namespace: key.namespace.clone(),
            service_account: (
                account.to_owned(),
                self.account_uid(&key.namespace, account),
            ),
            pod: Some((key.name.clone(), text(pod, "/metadata/uid").to_owned())),
            node: Some((run.node.clone(), self.node_uid(&run.node))),
            audiences: vec![crate::token::ISSUER.into()],
            lifetime: 3600 * 24,
        })?;
        let mut hosts =
            String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
        for address in run.addresses() {
            hosts.push_str(&format!("{address} {}\n", plan.hostname));
        }
        for alias in pod["spec"]["hostAliases"].as_array().into_iter().flatten() {
            let names = alias["hostnames"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            hosts.push_str(&format!(
                "{} {}\n",
                text(alias, "/ip"),
                names.collect::<Vec<_>>().join(" ")
            ));
        }
        let dns = if run.link.v4.is_some() {
            ipam::DNS_V4.to_string()
        } else {
            ipam::DNS_V6.to_string()
        };
        let namespace = &key.namespace;
        let resolv = format!(
            "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {dns}\noptions ndots:5\n"
        );
        Ok(PodFiles {
            hosts,
            resolv,
            hostname: format!("{}\n", plan.hostname),
            token,
            namespace: namespace.clone(),
        })
    }

    fn volumes(&self, key: &Key, pod: &Value, dir: &std::path::Path) -> Result<Vec<Bind>> {
        let lookup = |kind: &str, name: &str| {
            self.lock()
                .store
                .get(&Key::core(kind, &key.namespace, name))
                .cloned()
        };
        volumes::prepare(pod, &dir.join("volumes"), &lookup)
    }

    /// uid of a service account; one that was never declared gets a stable one.
    pub(super) fn account_uid(&self, namespace: &str, name: &str) -> String {
        let mut state = self.lock();
        let key = Key::core("ServiceAccount", namespace, name);
        if state.store.get(&key).is_none() {
            let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}});
            let _ = state.store.put(object);
        }
        state
            .store
            .get(&key)
            .map_or("", |o| text(o, "/metadata/uid"))
            .to_owned()
    }

    /// uid of a node.
    pub(super) fn node_uid(&self, node: &str) -> String {
        let state = self.lock();
        state
            .store
            .get(&Key::core("Node", "", node))
            .map_or("", |o| text(o, "/metadata/uid"))
            .to_owned()
    }

    fn stop_pod_parts(&self, key: &Key) -> Result<()> {
        let Some((run, pod)) = self.snapshot(key) else {
            return Ok(());
        };
        let grace = pod["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap_or(30);
        if !run.now {
            for pid in run.containers.iter().filter_map(|c| c.pid) {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGTERM);
            }
            self.wait(Some(Instant::now() + Duration::from_secs(grace)), |s| {
                let idle = |r: &PodRun| r.now || r.containers.iter().all(|c| c.pid.is_none());
                (s.closing || s.pods.get(key).is_none_or(idle)).then_some(())
            });
        }
        cgroup::destroy(
            &cgroup::pod(&run.node, &key.namespace, &key.name)?,
            Duration::from_secs(5),
        )?;
        if run.host_network {
            return Ok(());
        }
        if self.options.mesh {
            let socket: PathBuf = self.paths.run(&run.node).join("cni.sock");
            // As a container runtime does: DEL is best effort, the agent also sees that the pod is gone.
            if let Err(error) = cni::call(&socket, &self.cni_request(key, &run, Verb::Del)) {
                self.log(&format!("{key}: CNI DEL: {error:#}"));
            }
        }
        network::detach_pod(&run.link)
    }

    fn forget_pod(self: &Arc<Self>, key: &Key) {
        self.change(|state| {
            if let Some(run) = state.pods.remove(key)
                && !run.host_network
                && let Some(v4) = run.link.v4
            {
                state.ipam.release_pod(v4);
            }
            state.store.remove(key);
            state.revision += 1;
        });
    }
}
