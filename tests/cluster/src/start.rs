//! Starting a cluster that has been planned.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::binaries::Binaries;
use crate::kubectl::Kubectl;
use crate::layout::{CONTROL, Layout};
use crate::machine::is_alive;
use crate::plan::Plan;
use crate::{control_plane, images, interrupt, network, node, objects, out, pki, wait};

const LIMIT: Duration = Duration::from_secs(120);
/// A keeper that has not taken its lock by then has failed.
const BOOT: Duration = Duration::from_secs(10);

/// Makes all files and wires, starts all machines, and waits until nodes and DNS are ready. `archives` are images for every node.
///
/// # Errors
/// A file or wire cannot be made, or a component does not get ready; the message has the end of its log.
pub fn start(
    layout: &Layout,
    plan: &Plan,
    binaries: &Binaries,
    archives: &[PathBuf],
) -> Result<()> {
    let start = Start {
        layout,
        plan,
        binaries,
        kubectl: Kubectl::new(&binaries.program("kubectl")?, layout),
        began: Instant::now(),
    };
    start.make(archives)?;
    start.progress("certificates, images and network are made")?;
    start.control_plane()?;
    start.progress("the API server is ready")?;
    start.nodes()?;
    start.progress("the nodes are ready")?;
    start.dns()?;
    start.progress("the cluster's DNS is ready")
}

struct Start<'a> {
    layout: &'a Layout,
    plan: &'a Plan,
    binaries: &'a Binaries,
    kubectl: Kubectl,
    began: Instant,
}

impl Start<'_> {
    fn progress(&self, what: &str) -> Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        out::line(format_args!("{seconds:5.1} s  {what}"));
        interrupt::check()
    }

    fn make(&self, archives: &[PathBuf]) -> Result<()> {
        let layout = self.layout;
        pki::make(layout, self.plan).context("certificates")?;
        images::write(layout, self.binaries)?;
        for archive in archives {
            let shown = || archive.display().to_string();
            let name = archive.file_name().with_context(shown)?;
            fs::copy(archive, layout.images().join(name)).with_context(shown)?;
        }
        network::build(layout, self.plan)
    }

    /// Nodes are started at the same time: containerd takes its images while the API server starts.
    fn control_plane(&self) -> Result<()> {
        control_plane::machine(self.layout, self.plan, self.binaries)?.start()?;
        for index in 0..self.plan.nodes.len() {
            node::machine(self.layout, self.plan, self.binaries, index)?.start()?;
        }
        self.wait("API server", CONTROL, &["etcd", "kube-apiserver"], || {
            self.kubectl.run(&["get", "--raw=/readyz"]).map(|_| true)
        })
    }

    fn nodes(&self) -> Result<()> {
        self.kubectl
            .apply(&objects::dns())
            .context("the cluster's DNS")?;
        for (index, name) in self.plan.nodes.iter().enumerate() {
            let what = format!("node {name} registered");
            let register = || self.register(index);
            self.wait(&what, name, &["containerd", "kubelet"], register)?;
        }
        for name in &self.plan.nodes {
            let path = r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            let what = format!("node {name} ready");
            let ready = || Ok(self.kubectl.run(&["get", "node", name, path])? == "True");
            self.wait(&what, name, &["containerd", "kubelet"], ready)?;
        }
        Ok(())
    }

    /// Tells the API server which pods' addresses a node has; only an administrator may, once the node is known.
    fn register(&self, index: usize) -> Result<bool> {
        let [v4, v6] = self.plan.pods(index);
        let patch = json!({"spec": {"podCIDR": v4, "podCIDRs": [v4, v6]}}).to_string();
        let node = &self.plan.nodes[index];
        self.kubectl
            .run(&["patch", "node", node, "--patch", &patch])?;
        Ok(true)
    }

    fn dns(&self) -> Result<()> {
        let logs = ["kube-controller-manager", "kube-scheduler"];
        let path = "-o=jsonpath={.status.availableReplicas}";
        let dns = ["get", "deployment", "coredns", "-n=kube-system", path];
        let result = self.wait("DNS", CONTROL, &logs, || Ok(self.kubectl.run(&dns)? == "1"));
        result.with_context(|| {
            let events = ["get", "pods,events", "-n=kube-system", "-o=wide"];
            self.kubectl.run(&events).unwrap_or_default()
        })
    }

    /// Waits for something of one machine, as long as it is on.
    fn wait(
        &self,
        what: &str,
        machine: &str,
        components: &[&str],
        question: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let parts = std::iter::once("machine").chain(components.iter().copied());
        let logs: Vec<PathBuf> = parts.map(|part| self.layout.log(machine, part)).collect();
        let began = Instant::now();
        wait::until(what, LIMIT, &logs, || {
            if began.elapsed() > BOOT && !is_alive(self.layout, machine) {
                return Err(wait::Hopeless(format!("machine {machine} has ended")).into());
            }
            question()
        })
    }
}
