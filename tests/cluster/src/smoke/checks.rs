//! What is tried.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::machine::{self, is_alive, keeper};
use crate::{program, wait};

const LIMIT: Duration = Duration::from_secs(120);
/// kube-proxy and DNS learn of a Service a moment after it was made; connections that come earlier are refused.
const SOON: Duration = Duration::from_secs(20);

/// A pod of the Deployment `web`.
struct Pod {
    name: String,
    node: String,
    addresses: Vec<String>,
}

/// All pods of the Deployment.
pub(super) struct Pods(Vec<Pod>);

impl Pods {
    pub(super) fn find(kubectl: &Kubectl) -> Result<Self> {
        let text = kubectl.run(&["get", "pods", "--selector=app=web", "-o=json"])?;
        let list: Value = serde_json::from_str(&text)?;
        let items = list["items"].as_array().context("no list")?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pods: Vec<Pod> = items
            .iter()
            .map(|pod| Pod {
                name: word(&pod["metadata"]["name"]),
                node: word(&pod["spec"]["nodeName"]),
                addresses: pod["status"]["podIPs"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|address| word(&address["ip"]))
                    .collect(),
            })
            .collect();
        ensure!(
            pods.len() == 2 && pods[0].node != pods[1].node,
            "two pods on two nodes are wanted"
        );
        ensure!(
            pods.iter().all(|pod| pod.addresses.len() == 2),
            "two addresses a pod are wanted"
        );
        Ok(Self(pods))
    }

    /// Each from each, itself included.
    pub(super) fn reach_each_other(&self, kubectl: &Kubectl) -> Result<()> {
        for from in &self.0 {
            for to in &self.0 {
                for address in &to.addresses {
                    let answer = fetch(kubectl, from, &url(address, 8080))?;
                    ensure!(
                        answer == to.name,
                        "{address} answered {answer}, not {}",
                        to.name
                    );
                }
            }
        }
        Ok(())
    }

    /// Every pod, by both addresses of the Service, gets answers from both pods.
    pub(super) fn reach_services(&self, kubectl: &Kubectl) -> Result<()> {
        let path = "-o=jsonpath={.spec.clusterIPs[*]}";
        let addresses = kubectl.run(&["get", "service", "web", path])?;
        ensure!(
            addresses.split(' ').count() == 2,
            "the Service has {addresses}"
        );
        for from in &self.0 {
            for address in addresses.split(' ') {
                for to in &self.0 {
                    let what = format!("{} through {address} from {}", to.name, from.name);
                    let hit = || Ok(fetch(kubectl, from, &url(address, 80))? == to.name);
                    wait::until(&what, SOON, &[], hit)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn resolve(&self, kubectl: &Kubectl) -> Result<()> {
        for from in &self.0 {
            let named = || fetch(kubectl, from, "http://web.default/").map(|_| true);
            wait::until("http://web.default/", SOON, &[], named)?;
            for (family, colon) in [("AF_INET", false), ("AF_INET6", true)] {
                let addresses =
                    lookup(kubectl, from, "web-each.default.svc.cluster.local", family)?;
                ensure!(
                    addresses.len() == 2,
                    "{family} of the headless Service: {addresses:?}"
                );
                ensure!(
                    addresses
                        .iter()
                        .all(|address| address.contains(':') == colon),
                    "{addresses:?}"
                );
            }
        }
        Ok(())
    }

    pub(super) fn api(&self, kubectl: &Kubectl) -> Result<()> {
        let script = "cd /var/run/secrets/kubernetes.io/serviceaccount && curl -sS --max-time 5 --cacert ca.crt \
            -H \"Authorization: Bearer $(cat token)\" https://kubernetes.default.svc/version";
        for from in &self.0 {
            let answer = run(kubectl, from, &["sh", "-c", script])?;
            ensure!(
                answer.contains("gitVersion"),
                "the API server answered {answer}"
            );
        }
        Ok(())
    }
}

fn url(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("http://[{address}]:{port}/")
    } else {
        format!("http://{address}:{port}/")
    }
}

fn run(kubectl: &Kubectl, pod: &Pod, command: &[&str]) -> Result<String> {
    let mut words = vec!["exec", pod.name.as_str(), "--"];
    words.extend(command);
    Ok(kubectl.run(&words)?.trim().to_owned())
}

fn fetch(kubectl: &Kubectl, from: &Pod, url: &str) -> Result<String> {
    run(kubectl, from, &["curl", "-sSf", "--max-time", "3", url])
}

fn lookup(kubectl: &Kubectl, from: &Pod, name: &str, family: &str) -> Result<Vec<String>> {
    let script = format!(
        "import socket; print(*sorted({{a[4][0] for a in socket.getaddrinfo('{name}', 80, socket.{family}, socket.SOCK_STREAM)}}))"
    );
    let text = run(kubectl, from, &["python3", "-c", &script])?;
    Ok(text.split(' ').map(str::to_owned).collect())
}

pub(super) fn exec(kubectl: &Kubectl) -> Result<()> {
    let mut command = kubectl.command();
    command.args(["exec", "-i", "deployment/web", "--", "tr", "a-z", "A-Z"]);
    let answer = program::feed(&mut command, "warren")?;
    ensure!(answer == "WARREN", "it printed {answer:?}");
    let status = kubectl
        .command()
        .args(["exec", "deployment/web", "--", "sh", "-c", "exit 7"])
        .output()?
        .status;
    ensure!(status.code() == Some(7), "the status was {status}");
    Ok(())
}

/// Seccomp profile, capabilities and memory limit of the Deployment's pods, as the kernel sees them.
pub(super) fn confined(kubectl: &Kubectl) -> Result<()> {
    let look = "grep -E '^(Seccomp|CapEff):' /proc/1/status; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true";
    let text = kubectl.run(&["exec", "deployment/web", "--", "sh", "-c", look])?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let limit = (128 << 20).to_string();
    let wanted = ["Seccomp:", "2", "CapEff:", "0000000000000000", &limit];
    for word in wanted {
        ensure!(words.contains(&word), "{word} is missing in {text}");
    }
    Ok(())
}

pub(super) fn logs(kubectl: &Kubectl) -> Result<()> {
    let text = kubectl.run(&["logs", "deployment/web"])?;
    ensure!(text.contains("serving as web-"), "the log is {text:?}");
    Ok(())
}

/// What the mesh's agent will need: the node's network, cgroups and pinned objects.
pub(super) fn privileged(kubectl: &Kubectl) -> Result<()> {
    wait::until("DaemonSet", LIMIT, &[], || {
        let path = "-o=jsonpath={.status.numberReady}";
        Ok(kubectl.run(&["get", "daemonset", "agent", path])? == "2")
    })?;
    let look =
        "ls -d /host/cgroup/kubepods /sys/fs/bpf; ls /var/run/netns | head -1; ls /opt/cni/bin/ptp";
    let text = kubectl.run(&["exec", "daemonset/agent", "--", "sh", "-c", look])?;
    for wanted in [
        "/host/cgroup/kubepods",
        "/sys/fs/bpf",
        "cni-",
        "/opt/cni/bin/ptp",
    ] {
        ensure!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    Ok(())
}

pub(super) fn power_cut(kubectl: &Kubectl, layout: &Layout) -> Result<()> {
    let node = "-o=jsonpath={.items[-1:].metadata.name}";
    let node = kubectl.run(&["get", "nodes", node])?;
    let field = format!("--field-selector=spec.nodeName={node}");
    let before = containers(kubectl, &field)?;
    machine::power_off(layout, &node)?;
    if keeper::process_one(layout, &node).is_ok() || is_alive(layout, &node) {
        bail!("{node} is still on");
    }
    machine::power_on(layout, &node)?;
    let logs = ["machine", "containerd", "kubelet"].map(|part| layout.log(&node, part));
    wait::until("new containers", LIMIT, &logs, || {
        Ok(containers(kubectl, &field)? != before)
    })?;
    wait::until("ready pods", LIMIT, &logs, || {
        let path = r#"-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        let text = kubectl.run(&["get", "pods", "--selector=app=web", &field, path])?;
        Ok(text == "True")
    })?;
    let pods = Pods::find(kubectl)?;
    wait::until("pods reach each other", SOON, &[], || {
        pods.reach_each_other(kubectl).map(|()| true)
    })
}

/// Identifiers of the containers of the Deployment's pods that `field` selects.
fn containers(kubectl: &Kubectl, field: &str) -> Result<String> {
    let path = "-o=jsonpath={.items[*].status.containerStatuses[*].containerID}";
    kubectl.run(&["get", "pods", "--selector=app=web", field, path])
}
