//! The state as others may see it.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;
use warren_abi::{CONFIG_DIRECT, CONFIG_LOG};

use super::Node;
use crate::kernel::Kernel;
use crate::pods::{Pod, Stage};

/// One pod.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PodView {
    /// The workload's unique name.
    pub workload: String,
    /// Its number in the kernel maps.
    pub number: u32,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Network namespace.
    pub netns: PathBuf,
    /// Its cookie.
    pub cookie: u64,
    /// How far it has come.
    pub stage: Stage,
    /// Whether the controller wants it in the mesh; while it does not know the pod, what is presumed, if anything is.
    pub wanted: Option<bool>,
    /// Listeners in the fd store.
    pub listeners: usize,
    /// Why it could not be let in.
    pub error: Option<String>,
}

/// The state.
#[derive(Clone, Debug, Default, Serialize)]
pub struct View {
    /// This node's name.
    pub node: String,
    /// Whether a tunnel is connected, and which process.
    pub tunnel: Option<String>,
    /// All policies have arrived.
    pub policies_synced: bool,
    /// All workloads and services have arrived.
    pub addresses_synced: bool,
    /// The generation of verdicts.
    pub generation: u64,
    /// Whether direct flows are allowed.
    pub direct_flows: bool,
    /// Whether the kernel programs log.
    pub kernel_log: bool,
    /// Ids of the tunnel's and the kubelet's cgroup, and the host's network namespace cookie.
    pub tunnel_cgroup: u64,
    /// See above.
    pub kubelet_cgroup: u64,
    /// See above.
    pub host_netns: u64,
    /// Virtual addresses and ports whose backend the kernel chooses.
    pub kernel_services: usize,
    /// Pairs of pods whose direct flows do not arrive as they were sent, so that they take the tunnel.
    pub failing_pairs: usize,
    /// Changes that the kernel refused.
    pub kernel_errors: u64,
    /// Pods that the agent remembers.
    pub pods: Vec<PodView>,
}

impl<K: Kernel> Node<K> {
    /// The state now.
    pub fn view(&self) -> View {
        View {
            node: self.options.node.to_string(),
            tunnel: self.tunnel.link.map(|_| self.tunnel.instance.clone()),
            policies_synced: self.policies_synced,
            addresses_synced: self.addresses_synced,
            generation: self.config.generation,
            direct_flows: self.config.flags & CONFIG_DIRECT != 0,
            kernel_log: self.config.flags & CONFIG_LOG != 0,
            tunnel_cgroup: self.config.tunnel_cgroups[0],
            kubelet_cgroup: self.config.kubelet_cgroup,
            host_netns: self.config.host_netns,
            kernel_services: self.services.len(),
            failing_pairs: self.paths.failing(),
            kernel_errors: self.kernel_errors,
            pods: self.pods.values().map(|p| self.pod_view(p)).collect(),
        }
    }

    fn pod_view(&self, pod: &Pod) -> PodView {
        PodView {
            workload: pod.uid.to_string(),
            number: pod.record.number,
            namespace: pod.record.namespace.clone(),
            name: pod.record.name.clone(),
            addresses: pod.record.addresses.clone(),
            netns: pod.record.netns.clone(),
            cookie: pod.record.cookie,
            stage: pod.stage,
            wanted: self.wanted(&pod.uid),
            listeners: pod.listeners.len(),
            error: pod.last_error.clone(),
        }
    }
}
