//! What the lab's commands may ask of the daemon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use super::Daemon;
use super::containers::base_env;
use super::state::{PodRun, State};
use super::status::PodRow;
use crate::container::Entry;
use crate::manifest::{self, Key, Leftover, labels, text};
use crate::podspec::ContainerPlan;
use crate::protocol::{REFUSED, Request};

impl Daemon {
    /// Does what is asked and returns the answer's data.
    pub(super) fn handle(self: &Arc<Self>, request: Request) -> Result<Value> {
        match request {
            Request::Apply { objects, leftovers } => self.apply_all(objects, &leftovers),
            Request::Delete {
                objects,
                files,
                now,
            } => self.delete_all(&objects, &files, now),
            Request::Label {
                kind,
                namespace,
                name,
                labels,
            } => self.label(&kind, &namespace, &name, labels),
            Request::Wait { seconds } => self.wait_ready(Duration::from_secs(seconds)),
            Request::Ps => Ok(self.table()),
            Request::Enter {
                namespace,
                pod,
                container,
            } => self.enter(&namespace, &pod, container.as_deref()),
            Request::Component {
                action,
                component,
                node,
                kill,
            } => Ok(json!(self.component(
                &action,
                &component,
                node.as_deref(),
                kill
            )?)),
            Request::Waypoints { node, kill } => self.restart_waypoints(node.as_deref(), kill),
            Request::Quit => {
                self.lock().closing = true;
                self.changed.notify_all();
                Ok(Value::Null)
            }
        }
    }

    fn apply_all(
        self: &Arc<Self>,
        mut objects: Vec<Value>,
        leftovers: &[Leftover],
    ) -> Result<Value> {
        objects.sort_by_key(manifest::rank);
        let mut lines = Vec::new();
        self.change(|state| {
            for object in objects {
                let key = Key::of(&object);
                lines.push(match state.apply(object) {
                    Ok(word) => format!("{key} {word}"),
                    Err(error) => refusal(&error),
                });
            }
            for Leftover { file, text } in leftovers {
                if let Err(error) = state.store.leftover(file, text.as_deref()) {
                    lines.push(refusal(&error));
                }
            }
        });
        lines.extend(std::mem::take(&mut self.lock().warnings));
        Ok(json!(lines))
    }

    fn delete_all(
        self: &Arc<Self>,
        objects: &[Value],
        files: &[String],
        now: bool,
    ) -> Result<Value> {
        let mut lines = Vec::new();
        let before: Vec<Key> = self.change(|state| {
            for object in objects.iter().rev() {
                let key = Key::of(object);
                lines.push(match state.delete(&key, now) {
                    Ok(true) => format!("{key} deleted"),
                    Ok(false) => refusal(&anyhow!("{key} not found: it is gone, or never was")),
                    Err(error) => refusal(&error),
                });
            }
            for file in files {
                if let Err(error) = state.store.leftover(file, None) {
                    lines.push(refusal(&error));
                }
            }
            Vec::new()
        });
        drop(before);
        self.wait(Some(Instant::now() + Duration::from_secs(60)), |s| {
            s.pods.values().all(|r| !r.stopping).then_some(())
        });
        Ok(json!(lines))
    }

    fn label(
        self: &Arc<Self>,
        kind: &str,
        namespace: &str,
        name: &str,
        labels: Map<String, Value>,
    ) -> Result<Value> {
        let (found, done) = self.change(|state| {
            let alias = match kind.to_lowercase().as_str() {
                "ns" => "namespace".to_owned(),
                "po" => "pod".to_owned(),
                "svc" => "service".to_owned(),
                other => other.trim_end_matches('s').to_owned(),
            };
            let fits = |k: &&Key| k.kind.to_lowercase() == alias && k.name == name;
            let inside = |k: &&Key| k.namespace.is_empty() || k.namespace == namespace;
            let key = state
                .store
                .all()
                .map(|(k, _)| k)
                .filter(fits)
                .find(inside)
                .cloned();
            let Some(key) = key else {
                return (None, Ok(false));
            };
            state.revision += 1;
            let done = state.store.update(&key, |object| {
                for (label, value) in labels {
                    if value.is_null() {
                        if let Some(map) = object["metadata"]["labels"].as_object_mut() {
                            map.remove(&label);
                        }
                    } else {
                        object["metadata"]["labels"][label] = value;
                    }
                }
            });
            (Some(key), done)
        });
        done?;
        let key = found.with_context(|| format!("{kind}/{name} not found in {namespace}"))?;
        Ok(json!([format!("{key} labelled")]))
    }

    fn wait_ready(&self, limit: Duration) -> Result<Value> {
        let waited = self.wait(Some(Instant::now() + limit), |s| {
            let rows = s.rows();
            // What failed does not stop the rest, which is waited for.
            let over = rows.iter().all(|r| r.settled || r.failed)
                && s.components.values().all(|c| c.up || c.stopped)
                && s.synced == s.revision;
            over.then(|| rows.iter().all(|r| r.settled))
        });
        if waited == Some(true) {
            return Ok(self.table());
        }
        let state = self.lock();
        let mut why = reasons(&state);
        if waited.is_none() {
            why.insert(0, format!("not ready after {} s", limit.as_secs()));
        }
        bail!("{}", why.join("\n  "))
    }

    fn table(&self) -> Value {
        let state = self.lock();
        let components: Vec<Value> = state
            .components
            .iter()
            .map(|((node, name), run)| {
                let status = match (run.up, run.stopped, run.pid) {
                    (true, ..) => "up",
                    (_, true, None) => "stopped",
                    _ => "starting",
                };
                json!({"node": node, "component": name, "status": status, "pid": run.pid, "starts": run.starts})
            })
            .collect();
        let pods: Vec<PodRow> = state.rows();
        json!({"pods": pods, "components": components, "nodes": state.nodes})
    }

    fn enter(&self, namespace: &str, pod: &str, container: Option<&str>) -> Result<Value> {
        let key = self.find_pod(namespace, pod)?;
        let (run, object) = self.snapshot(&key).context("the pod is gone")?;
        if run.sandbox.is_none() {
            bail!("{key} does not run yet: {}", run.reason);
        }
        let plan = self.plan(&key, &object)?;
        let wanted = |c: &&ContainerPlan| container.is_none_or(|name| name == c.name);
        let names: Vec<&str> = plan.containers.iter().map(|c| c.name.as_str()).collect();
        let chosen = plan.containers.iter().find(wanted);
        let chosen =
            chosen.with_context(|| format!("{key} has the containers {}", names.join(", ")))?;
        let entry: Entry = self.entry(&key, &run, chosen)?;
        let log = self
            .paths
            .container_log(&run.node, &key.namespace, &key.name, &chosen.name);
        Ok(
            json!({"entry": entry, "env": base_env(&chosen.env, &key.name), "log": log, "node": run.node,
            "pod": key.name, "netns": run.link.netns, "container": chosen.name}),
        )
    }

    /// The pod called `name`, or one whose owner is called so.
    fn find_pod(&self, namespace: &str, name: &str) -> Result<Key> {
        let state = self.lock();
        let short = name.rsplit('/').next().unwrap_or(name);
        let exact = Key::core("Pod", namespace, short);
        if state.pods.contains_key(&exact) {
            return Ok(exact);
        }
        let owned = |(key, run): &(&Key, &PodRun)| {
            key.namespace == namespace
                && !run.stopping
                && owner(&state, key) == Some(short.to_owned())
        };
        let mut found: Vec<(&Key, &PodRun)> = state.pods.iter().filter(owned).collect();
        found.sort_by_key(|(_, run)| !run.ready());
        if let Some((key, _)) = found.first() {
            return Ok((*key).clone());
        }
        let known: Vec<&str> = state
            .pods
            .keys()
            .filter(|k| k.namespace == namespace)
            .map(|k| k.name.as_str())
            .collect();
        bail!(
            "no pod {name} in namespace {namespace}{}",
            where_else(&state, namespace, short, &known)
        )
    }

    fn restart_waypoints(&self, node: Option<&str>, hard: bool) -> Result<Value> {
        let state = self.lock();
        let class = "gateway.networking.k8s.io/gateway-class-name";
        let mut lines = Vec::new();
        for (key, run) in &state.pods {
            let object = state.store.get(key);
            let is_waypoint =
                object.is_some_and(|o| labels(o).get(class) == Some(&json!("warren-waypoint")));
            if !is_waypoint || node.is_some_and(|n| n != run.node) {
                continue;
            }
            for pid in run.containers.iter().filter_map(|c| c.pid) {
                let _ = killpg(
                    Pid::from_raw(pid),
                    if hard {
                        Signal::SIGKILL
                    } else {
                        Signal::SIGTERM
                    },
                );
            }
            lines.push(format!("{key} restarts"));
        }
        if lines.is_empty() {
            bail!("no waypoint runs here: it is a pod labelled {class}=warren-waypoint");
        }
        Ok(json!(lines))
    }
}

fn refusal(error: &anyhow::Error) -> String {
    format!("{REFUSED}{error:#}")
}

/// What a person may have meant who named a pod that is not there.
fn where_else(state: &State, namespace: &str, name: &str, known: &[&str]) -> String {
    let elsewhere = state.pods.keys().find(|k| k.name == name);
    if let Some(key) = elsewhere {
        return format!("; there is one in {0}: try `-n {0}`", key.namespace);
    }
    if !known.is_empty() {
        return format!("; it has: {}", known.join(", "));
    }
    let named = Key::core("Namespace", "", namespace);
    let what = if state.store.get(&named).is_some() {
        "it has no pods"
    } else {
        "there is no such namespace"
    };
    format!(": {what}, `lab ps` lists all")
}

/// Name of a pod's owner; of a Deployment's pod, the Deployment's.
fn owner(state: &State, key: &Key) -> Option<String> {
    let pod = state.store.get(key)?;
    let name = text(pod, "/metadata/ownerReferences/0/name");
    let hash = text(pod, "/metadata/labels/pod-template-hash");
    let of_deployment = name
        .strip_suffix(hash)
        .and_then(|n| n.strip_suffix('-'))
        .filter(|_| !hash.is_empty());
    Some(of_deployment.unwrap_or(name).to_owned())
}

fn reasons(state: &State) -> Vec<String> {
    let pods = state.rows().into_iter().filter(|r| !r.settled);
    let mut why: Vec<String> = pods
        .map(|r| {
            format!(
                "pod {}/{} ({} ready): {}",
                r.namespace, r.name, r.ready, r.status
            )
        })
        .collect();
    for ((node, component), run) in &state.components {
        if !run.up && !run.stopped {
            why.push(format!(
                "{component} on node {node} is not up (started {} times)",
                run.starts
            ));
        }
    }
    why
}
