//! What a pod's state looks like from outside: the status object and the line of `lab ps`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::state::{ContainerRun, PodRun};
use crate::ipam;
use crate::manifest::Key;

/// A line of `lab ps`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Node.
    pub node: String,
    /// Addresses, comma separated.
    pub addresses: String,
    /// Ready containers of all, as in `1/2`.
    pub ready: String,
    /// Phase, or what it waits for.
    pub status: String,
    /// Restarts of all containers.
    pub restarts: u32,
    /// Whether its labels put it into the mesh.
    pub enrolled: bool,
    /// Network namespace.
    pub netns: String,
    /// Whether it is ready, or ended well.
    pub settled: bool,
    /// Whether it will never be ready without a change.
    pub failed: bool,
}

impl PodRun {
    /// Whether every container runs and passes its probe.
    pub fn ready(&self) -> bool {
        let fine = |c: &ContainerRun| c.pid.is_some() && c.ready.unwrap_or(true);
        !self.stopping && !self.containers.is_empty() && self.containers.iter().all(fine)
    }

    /// Kubernetes' phase.
    pub fn phase(&self) -> &'static str {
        if !self.containers.is_empty() && self.containers.iter().all(|c| c.finished) {
            let good = self.containers.iter().all(|c| c.exit == Some(0));
            return if good { "Succeeded" } else { "Failed" };
        }
        let begun = self
            .containers
            .iter()
            .any(|c| c.pid.is_some() || c.exit.is_some());
        if begun { "Running" } else { "Pending" }
    }

    /// Addresses in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.link.v4.map(IpAddr::from);
        v4.into_iter()
            .chain(self.link.v6.map(IpAddr::from))
            .collect()
    }
}

/// The status object that a kubelet would write; `node` is the number of the pod's node.
pub(super) fn status(run: &PodRun, node: u8) -> Value {
    let condition =
        |name: &str, is: bool| json!({"type": name, "status": if is { "True" } else { "False" }});
    let ready = run.ready();
    let mut status = json!({
        "phase": run.phase(),
        "hostIP": ipam::node_v4(node).to_string(),
        "hostIPs": [{"ip": ipam::node_v4(node).to_string()}, {"ip": ipam::node_v6(node).to_string()}],
        "conditions": [
            condition("PodScheduled", true),
            condition("Initialized", run.phase() != "Pending"),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "containerStatuses": run.containers.iter().map(container_status).collect::<Vec<_>>(),
    });
    if run.networked {
        let addresses = run.addresses();
        status["podIP"] = json!(addresses.first().map(ToString::to_string));
        status["podIPs"] = addresses
            .iter()
            .map(|a| json!({"ip": a.to_string()}))
            .collect();
    }
    status
}

fn container_status(c: &ContainerRun) -> Value {
    let state = match (c.pid, c.exit) {
        (Some(_), _) => json!({"running": {}}),
        (None, Some(code)) if c.finished => json!({"terminated": {"exitCode": code}}),
        (None, Some(_)) => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        (None, None) => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    json!({"name": c.name, "image": "", "imageID": "", "ready": c.pid.is_some() && c.ready.unwrap_or(true),
        "restartCount": c.restarts, "started": c.pid.is_some(), "state": state})
}

/// The line of `lab ps`; `enrolled` is what the labels say.
pub(super) fn row(key: &Key, run: &PodRun, enrolled: bool) -> PodRow {
    let good = run
        .containers
        .iter()
        .filter(|c| c.pid.is_some() && c.ready.unwrap_or(true))
        .count();
    let addresses: Vec<String> = run.addresses().iter().map(ToString::to_string).collect();
    let waiting = |c: &&ContainerRun| c.pid.is_none() && c.exit.is_some() && !c.finished;
    let status = if run.stopping {
        "Terminating".to_owned()
    } else if let Some(c) = run.containers.iter().find(waiting) {
        format!("CrashLoopBackOff (exit status {})", c.exit.unwrap_or(0))
    } else if run.phase() == "Pending" {
        run.reason.clone()
    } else {
        run.phase().to_owned()
    };
    PodRow {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        node: run.node.clone(),
        addresses: addresses.join(","),
        ready: format!("{good}/{}", run.containers.len()),
        status,
        restarts: run.containers.iter().map(|c| c.restarts).sum(),
        enrolled: enrolled && !run.host_network,
        netns: run.link.netns.clone(),
        settled: run.ready() || run.phase() == "Succeeded",
        failed: run.failed || run.phase() == "Failed",
    }
}
