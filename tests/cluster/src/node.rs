//! A node: containerd, kubelet and kube-proxy, and the files they read.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::binaries::Binaries;
use crate::control_plane::{component, ready};
use crate::images::PAUSE;
use crate::layout::Layout;
use crate::machine::{Component, Machine};
use crate::plan::{Cni, DNS, PODS, Plan};

/// Where a node's components find their settings, inside the node.
const SETTINGS: &str = "/etc/warren-cluster";

/// Writes a node's files and returns its machine.
///
/// # Errors
/// A file cannot be written, or a program is missing.
pub fn machine(layout: &Layout, plan: &Plan, binaries: &Binaries, index: usize) -> Result<Machine> {
    let name = &plan.nodes[index];
    files(layout, plan, binaries, index).with_context(|| format!("settings of node {name}"))?;
    let ready = ready(layout, binaries, name)?;
    let ctr = binaries.program("ctr")?.display().to_string();
    let mut first = vec![words(&[&ctr, "version"])];
    first.extend(images(layout)?.iter().map(|archive| import(&ctr, archive)));
    first.push(ready.clone());
    Ok(Machine {
        cluster: plan.name.clone(),
        name: name.clone(),
        node: true,
        path: binaries.folders().to_vec(),
        components: vec![
            component(
                binaries,
                "containerd",
                vec![format!("--config={SETTINGS}/containerd.toml")],
            )?,
            Component {
                first,
                ..component(binaries, "kubelet", kubelet_flags(layout, plan, index))?
            },
            Component {
                first: vec![ready],
                ..component(
                    binaries,
                    "kube-proxy",
                    vec![format!("--config={SETTINGS}/kube-proxy.json")],
                )?
            },
        ],
    })
}

/// The command that gives an image archive to a node's containerd.
pub fn import(ctr: &str, archive: &Path) -> Vec<String> {
    let archive = archive.display().to_string();
    words(&[ctr, "--namespace=k8s.io", "images", "import", &archive])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn images(layout: &Layout) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(layout.images())?;
    let mut all: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    all.sort();
    Ok(all)
}

fn files(layout: &Layout, plan: &Plan, binaries: &Binaries, index: usize) -> Result<()> {
    let name = &plan.nodes[index];
    let own = layout.machine(name);
    let settings = own.join(format!("etc/{}", SETTINGS.trim_start_matches("/etc/")));
    let (net, plugins) = (own.join("etc/cni/net.d"), own.join("opt/cni/bin"));
    for folder in [&settings, &net, &plugins] {
        fs::create_dir_all(folder)?;
    }
    for entry in fs::read_dir(binaries.cni_plugins()?)? {
        let entry = entry?;
        fs::copy(entry.path(), plugins.join(entry.file_name()))?;
    }
    let json = |value: Value| serde_json::to_string_pretty(&value).unwrap_or_default();
    fs::write(net.join("10-cluster.conflist"), json(network(plan, index)))?;
    fs::write(settings.join("containerd.toml"), containerd())?;
    fs::write(settings.join("kubelet.json"), json(kubelet(layout, name)))?;
    fs::write(
        settings.join("kube-proxy.json"),
        json(kube_proxy(layout, name)),
    )?;
    // Names beyond the cluster lead nowhere: tests must not depend on them.
    fs::write(settings.join("resolv.conf"), "")?;
    Ok(())
}

fn network(plan: &Plan, index: usize) -> Value {
    let [v4, v6] = plan.pods(index);
    let mut main = match plan.cni {
        Cni::Ptp => json!({"type": "ptp"}),
        Cni::Bridge => {
            json!({"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true})
        }
    };
    main["ipMasq"] = json!(false);
    main["ipam"] = json!({
        "type": "host-local",
        "ranges": [[{"subnet": v4}], [{"subnet": v6}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    });
    let ports = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [main, ports]})
}

/// Containers may not be given a lower OOM score than containerd's own: machines without CAP_SYS_RESOURCE refuse it.
fn containerd() -> String {
    format!(
        r#"version = 3
disabled_plugins = ["io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.internal.v1.tracing"]

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
"#
    )
}

fn kubelet_flags(layout: &Layout, plan: &Plan, index: usize) -> Vec<String> {
    let name = &plan.nodes[index];
    let (v4, v6) = plan.node(index);
    let config = layout.pki().join(format!("{name}.kubeconfig"));
    vec![
        format!("--config={SETTINGS}/kubelet.json"),
        format!("--kubeconfig={}", config.display()),
        format!("--hostname-override={name}"),
        format!("--node-ip={v4},{v6}"),
        format!(
            "--node-labels=topology.kubernetes.io/region=here,topology.kubernetes.io/zone=zone-{name}"
        ),
        "--v=2".into(),
    ]
}

fn kubelet(layout: &Layout, name: &str) -> Value {
    let pki = |file: &str| layout.pki().join(file);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki(&format!("{name}.crt")),
        "tlsPrivateKeyFile": pki(&format!("{name}.key")),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "clusterDNS": [DNS.0, DNS.1],
        "clusterDomain": "cluster.local",
        "resolvConf": format!("{SETTINGS}/resolv.conf"),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // The disk is the machine's: how full it is says nothing about the node.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false,
        "kubeAPIQPS": 500,
        "kubeAPIBurst": 1000,
    })
}

fn kube_proxy(layout: &Layout, name: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": name,
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": layout.pki().join("kube-proxy.kubeconfig")},
        "oomScoreAdj": 0,
        "nftables": {"minSyncPeriod": "50ms"},
        // Zero: these are the machine's, not the node's, to change.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}
