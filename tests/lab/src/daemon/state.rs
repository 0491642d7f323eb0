//! What the daemon knows: objects, running pods, components.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Options;
use super::status::{PodRow, row, status};
use crate::ipam::{self, Ipam};
use crate::manifest::{Key, labels, text};
use crate::network::PodLink;
use crate::paths::Paths;
use crate::store::{Store, now};
use crate::{schedule, service_ips};

/// Label of pods that stand for the mesh's own processes, which are not run as containers.
pub const COMPONENT_LABEL: &str = "lab.warren.dev/component";
/// Annotation by which a pod asks for one family only.
const FAMILIES: &str = "/metadata/annotations/lab.warren.dev~1ip-families";

/// Everything that changes.
pub struct State {
    /// Objects.
    pub store: Store,
    /// Addresses.
    pub ipam: Ipam,
    /// Node names in the order of their numbers.
    pub nodes: Vec<String>,
    /// Running pods.
    pub pods: BTreeMap<Key, PodRun>,
    /// Mesh processes by node and component.
    pub components: BTreeMap<(String, String), ComponentRun>,
    /// Counts changes that Services care about.
    pub revision: u64,
    /// Last revision that kube-proxy, DNS and EndpointSlices show.
    pub synced: u64,
    /// Whether the lab is going down.
    pub closing: bool,
    /// What the last `apply` should know.
    pub warnings: Vec<String>,
    paths: Paths,
    mesh: bool,
    turn: usize,
}

/// A pod at run time.
#[derive(Clone, Debug)]
pub struct PodRun {
    /// Its network.
    pub link: PodLink,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Node name.
    pub node: String,
    /// Process that holds its namespaces.
    pub sandbox: Option<i32>,
    /// Containers in the order of the manifest.
    pub containers: Vec<ContainerRun>,
    /// Whether the network is up, so that the status has addresses.
    pub networked: bool,
    /// Whether it is being deleted.
    pub stopping: bool,
    /// Whether its containers are killed at once when it is deleted.
    pub now: bool,
    /// What it waits for, or why it cannot start.
    pub reason: String,
    /// Whether `reason` is final.
    pub failed: bool,
}

/// A container at run time.
#[derive(Clone, Debug, Default)]
pub struct ContainerRun {
    /// Name.
    pub name: String,
    /// Process, while it runs.
    pub pid: Option<i32>,
    /// Verdict of the readiness probe; `None` without one.
    pub ready: Option<bool>,
    /// How often it was started again.
    pub restarts: u32,
    /// Exit status of the last run.
    pub exit: Option<i32>,
    /// Whether it will not be started again.
    pub finished: bool,
}

/// A mesh process at run time.
#[derive(Clone, Debug, Default)]
pub struct ComponentRun {
    /// Process, while it runs.
    pub pid: Option<i32>,
    /// How often it was started.
    pub starts: u32,
    /// Whether it is to stay down.
    pub stopped: bool,
    /// Whether it serves.
    pub up: bool,
}

impl State {
    /// An empty state.
    pub fn new(paths: &Paths, options: &Options) -> Result<Self> {
        Ok(Self {
            store: Store::new(paths.api(), paths.scratch())?,
            ipam: Ipam::default(),
            nodes: options.nodes.clone(),
            pods: BTreeMap::new(),
            components: BTreeMap::new(),
            revision: 1,
            synced: 0,
            closing: false,
            warnings: Vec::new(),
            paths: paths.clone(),
            mesh: options.mesh,
            turn: 0,
        })
    }

    /// Nodes and the namespaces that every cluster has.
    pub fn create_cluster_objects(&mut self) -> Result<()> {
        for namespace in ["default", "kube-system", "warren-system"] {
            self.ensure_namespace(namespace)?;
        }
        for (index, name) in (0u8..).zip(self.nodes.clone()) {
            self.store.put(json!({"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}}}))?;
            self.complete_node(&name, index)?;
        }
        Ok(())
    }

    /// Creates or changes an object; returns what happened in kubectl's words.
    pub fn apply(&mut self, mut object: Value) -> Result<&'static str> {
        let key = Key::of(&object);
        let old = self.store.get(&key).cloned();
        if !key.namespace.is_empty() {
            self.ensure_namespace(&key.namespace)?;
        }
        match (key.group.as_str(), key.kind.as_str()) {
            ("", "Service") => {
                self.warnings
                    .extend(service_ips::unsupported(&key, &object));
                service_ips::assign(&mut self.ipam, old.as_ref(), &mut object)?;
            }
            ("", "Pod") => self.prepare_pod(&mut object, old.as_ref())?,
            ("batch", kind) => {
                self.warnings.push(format!(
                    "warning: {key}: the lab stores a {kind} but runs no pods for it"
                ));
            }
            ("", "Node") => return self.apply_node(&key, &object),
            ("", "Namespace") => {
                object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(key.name)
            }
            _ => {}
        }
        let changed = self.store.put(object).with_context(|| key.to_string())?;
        self.revision += 1;
        Ok(match (old, changed) {
            (None, _) => "created",
            (_, true) => "configured",
            (_, false) => "unchanged",
        })
    }

    /// Deletes an object; a pod is only marked, its thread ends it.
    pub fn delete(&mut self, key: &Key, now: bool) -> Result<bool> {
        if self.store.get(key).is_none() {
            return Ok(false);
        }
        self.revision += 1;
        if key.kind == "Pod" && self.pods.contains_key(key) {
            self.stop_pod(key, now)?;
            return Ok(true);
        }
        if key.kind == "Namespace" {
            let inside: Vec<Key> = self
                .store
                .all()
                .map(|(k, _)| k)
                .filter(|k| k.namespace == key.name)
                .cloned()
                .collect();
            for inner in inside {
                self.delete(&inner, now)?;
            }
        }
        if key.kind == "Service" {
            let slices: Vec<Key> = self.store.kind("EndpointSlice").map(Key::of).collect();
            let family = [format!("{}-ipv4", key.name), format!("{}-ipv6", key.name)];
            for slice in slices
                .into_iter()
                .filter(|s| s.namespace == key.namespace && family.contains(&s.name))
            {
                self.store.remove(&slice);
            }
        }
        let removed = self.store.remove(key);
        for address in removed.iter().flat_map(service_ips::cluster_ips) {
            self.ipam.release_service(address);
        }
        Ok(true)
    }

    /// Marks a pod as being deleted.
    pub fn stop_pod(&mut self, key: &Key, kill: bool) -> Result<()> {
        if let Some(run) = self.pods.get_mut(key) {
            run.stopping = true;
            run.now |= kill;
        }
        self.store.update(key, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(now())
        })?;
        self.publish(key)
    }

    /// Writes a pod's status as a kubelet would.
    pub fn publish(&mut self, key: &Key) -> Result<()> {
        let Some(run) = self.pods.get(key) else {
            return Ok(());
        };
        let index = self.node_index(&run.node);
        let status = status(run, index);
        if self.store.update(key, |pod| pod["status"] = status)? {
            self.revision += 1;
        }
        Ok(())
    }

    /// Number of a node.
    pub fn node_index(&self, node: &str) -> u8 {
        let index = self.nodes.iter().position(|n| n == node).unwrap_or(0);
        u8::try_from(index).unwrap_or(0)
    }

    /// Lines of `lab ps`.
    pub fn rows(&self) -> Vec<PodRow> {
        let line = |(key, run)| row(key, run, self.in_mesh(key));
        self.pods.iter().map(line).collect()
    }

    /// Whether labels of the pod or its namespace put it into the mesh.
    fn in_mesh(&self, pod: &Key) -> bool {
        let label = |key: &Key| {
            let object = self.store.get(key)?;
            Some(text(object, "/metadata/labels/warren.dev~1mesh").to_owned())
        };
        let own = label(pod).unwrap_or_default();
        let inherited = label(&Key::core("Namespace", "", &pod.namespace)).unwrap_or_default();
        self.mesh && (own == "enabled" || (own != "disabled" && inherited == "enabled"))
    }

    fn ensure_namespace(&mut self, name: &str) -> Result<()> {
        let key = Key::core("Namespace", "", name);
        if self.store.get(&key).is_none() {
            let labels = json!({"kubernetes.io/metadata.name": name});
            self.store.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))?;
        }
        Ok(())
    }

    fn apply_node(&mut self, key: &Key, object: &Value) -> Result<&'static str> {
        if !self.nodes.contains(&key.name) {
            bail!("{key} is not a node of this lab: `up --nodes` names them");
        }
        let given = labels(object);
        self.store.update(key, |node| {
            for (name, value) in given {
                node["metadata"]["labels"][name] = value;
            }
        })?;
        Ok("configured")
    }

    fn complete_node(&mut self, name: &str, index: u8) -> Result<()> {
        let cidrs = ipam::pod_cidrs(index);
        self.store.update(&Key::core("Node", "", name), |node| {
            node["spec"] = json!({"podCIDR": cidrs[0], "podCIDRs": cidrs});
            node["status"] = json!({
                "addresses": [
                    {"type": "InternalIP", "address": ipam::node_v4(index).to_string()},
                    {"type": "InternalIP", "address": ipam::node_v6(index).to_string()},
                    {"type": "Hostname", "address": name}],
                "conditions": [{"type": "Ready", "status": "True"}]});
        })?;
        Ok(())
    }

    fn prepare_pod(&mut self, pod: &mut Value, old: Option<&Value>) -> Result<()> {
        if !pod["spec"].is_object() {
            bail!("{}: spec is missing", Key::of(pod));
        }
        if pod["spec"].get("serviceAccountName").is_none() {
            pod["spec"]["serviceAccountName"] = json!("default");
        }
        if let Some(old) = old {
            if text(pod, "/spec/nodeName").is_empty() {
                pod["spec"]["nodeName"] = old["spec"]["nodeName"].clone();
            }
            if pod["spec"] != old["spec"] {
                bail!(
                    "{}: a pod's spec cannot be changed: delete it first",
                    Key::of(pod)
                );
            }
            return Ok(());
        }
        let nodes: Vec<&Value> = self.store.kind("Node").collect();
        let node = schedule::choose(pod, &nodes, &mut self.turn)
            .with_context(|| Key::of(pod).to_string())?;
        pod["spec"]["nodeName"] = json!(node);
        Ok(())
    }

    /// Gives a pod its addresses and its place among the running ones.
    pub(super) fn start_pod(&mut self, key: &Key) -> Result<()> {
        let Some(pod) = self.store.get(key) else {
            return Ok(());
        };
        let node = text(pod, "/spec/nodeName").to_owned();
        let host_network = pod["spec"]["hostNetwork"].as_bool().unwrap_or(false);
        let families = text(pod, FAMILIES).to_owned();
        let uid = text(pod, "/metadata/uid").replace('-', "");
        let index = self.node_index(&node);
        let node_netns = self.paths.node_netns(&node);
        let (v4, v6): (Ipv4Addr, Ipv6Addr) = match host_network {
            true => (ipam::node_v4(index), ipam::node_v6(index)),
            false => self.ipam.pod(index)?,
        };
        let has = |family: &str| families.is_empty() || families.contains(family);
        let netns = if host_network {
            node_netns.clone()
        } else {
            self.paths.pod_netns(&key.namespace, &key.name)
        };
        let link = PodLink {
            node_netns,
            node: index,
            netns,
            host_end: format!("lab{}", &uid[..10]),
            v4: has("IPv4").then_some(v4),
            v6: has("IPv6").then_some(v6),
        };
        let run = PodRun {
            link,
            host_network,
            node,
            sandbox: None,
            containers: Vec::new(),
            networked: false,
            stopping: false,
            now: false,
            reason: "Pending".into(),
            failed: false,
        };
        self.pods.insert(key.clone(), run);
        Ok(())
    }
}
