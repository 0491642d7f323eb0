//! Pods that run on this node and that no CNI ADD told of: those that were there before the agent, and those that started
//! while the plugin was not in place. What is known comes from the node itself, so it needs neither API server nor controller.
//!
//! ```text
//! /proc/PID/cgroup --UID--> log folders --namespace, name--> unknown to the node? --netns, addresses--> Input::Found
//! ```

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::cgroup::as_the_host;
use crate::cni::{Op, Request};
use crate::netns::Netns;
use crate::node::Input;

mod addresses;
mod folders;
mod processes;

use folders::{Name, Namespaces};

/// Pause between a repair of the plugin and the scan for pods that started without it.
const SETTLE: Duration = Duration::from_secs(1);

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The kubelet's folder of pod logs, `NAMESPACE_NAME_UID` each.
    pub logs: PathBuf,
    /// The host's network namespace: pods in it are never in the mesh.
    pub host: PathBuf,
    /// How often.
    pub interval: Duration,
}

/// Looks now, regularly, and when `wake` says so; until the node is gone.
pub async fn run(scan: Scan, inputs: mpsc::Sender<Input>, wake: Arc<Notify>) {
    let mut said = None;
    loop {
        let Some(known) = known(&inputs).await else {
            return;
        };
        let job = scan.clone();
        match tokio::task::spawn_blocking(move || job.look(&known)).await {
            Ok(Ok(found)) => {
                said = None;
                for request in found {
                    if inputs.send(Input::Found(Box::new(request))).await.is_err() {
                        return;
                    }
                }
            }
            Ok(Err(why)) if said.as_ref() != Some(&why) => {
                tracing::warn!("pods that were here before the agent are not found: {why}");
                said = Some(why);
            }
            Ok(Err(_)) => {}
            Err(_) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(scan.interval) => {}
            () = wake.notified() => tokio::time::sleep(SETTLE).await,
        }
    }
}

/// Namespaces and names of the pods that the node knows; None when it is gone.
async fn known(inputs: &mpsc::Sender<Input>) -> Option<BTreeSet<(String, String)>> {
    let (reply, view) = oneshot::channel();
    inputs.send(Input::Look(reply)).await.ok()?;
    let pods = view.await.ok()?.pods;
    Some(pods.into_iter().map(|p| (p.namespace, p.name)).collect())
}

impl Scan {
    /// The running pods that are not `known`, as a CNI ADD would tell of them.
    ///
    /// # Errors
    /// What is needed and missing, and the next step.
    pub fn look(&self, known: &BTreeSet<(String, String)>) -> Result<Vec<Request>, String> {
        let start = Instant::now();
        let unknown: HashMap<String, Name> = folders::pods(&self.logs)?
            .into_iter()
            .filter(|(_, pod)| !known.contains(&(pod.namespace.clone(), pod.name.clone())))
            .collect();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let running = as_the_host(|| processes::oldest(Path::new("/proc"), &unknown));
        let namespaces = Namespaces::mounted();
        let host = folders::identity(&self.host).ok_or_else(|| {
            format!(
                "{} is no network namespace; set --host-netns",
                self.host.display()
            )
        })?;
        let mut found = Vec::new();
        for (uid, pid) in running {
            let own = PathBuf::from(format!("/proc/{pid}/ns/net"));
            match folders::identity(&own) {
                None => tracing::debug!(
                    uid,
                    pid,
                    "the process is gone, or the agent lacks CAP_SYS_PTRACE"
                ),
                Some(it) if it == host => {}
                Some(it) => {
                    found.extend(request(&uid, &unknown, namespaces.path(it).unwrap_or(own)))
                }
            }
        }
        tracing::debug!(unknown = unknown.len(), found = found.len(), took = ?start.elapsed(), "scan");
        Ok(found)
    }
}

fn request(uid: &str, pods: &HashMap<String, Name>, netns: PathBuf) -> Option<Request> {
    let pod = pods.get(uid)?;
    let addresses = Netns::open(&netns).and_then(|netns| netns.run(addresses::of_this_namespace));
    let addresses = match addresses {
        Ok(addresses) => addresses,
        Err(error) => {
            tracing::debug!(uid, netns = %netns.display(), %error, "the pod's addresses cannot be read");
            return None;
        }
    };
    // A pod without addresses is being set up, or let go.
    (!addresses.is_empty()).then(|| Request {
        op: Op::Add,
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: uid.to_owned(),
        netns,
        addresses,
        pod_labels: None,
        namespace_labels: None,
    })
}
