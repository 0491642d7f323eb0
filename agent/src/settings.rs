//! Settings, from flags and environment; the flag goes before the variable.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use warren_api::cri::USUAL_SOCKETS;

use crate::accounting::Format;

/// Warren's node agent: loads the kernel programs, lets pods in and out of the mesh.
#[derive(Debug, Parser)]
#[command(name = "warren-agent", version)]
pub struct Cli {
    /// Settings.
    #[command(flatten)]
    pub settings: Settings,
    /// Nothing: run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else than running.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// Remove every pinned program and map of this node: no pod is captured any more.
    Cleanup,
    /// Check what this machine must have.
    Check,
    /// The CNI plugin on this node's disk.
    #[command(subcommand)]
    Cni(CniCommand),
}

/// What to do with the CNI plugin, where --cni-bin-dir and --cni-conf-dir say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum CniCommand {
    /// Put it into the node's network, as an agent that starts does.
    Install,
    /// Take it away, and leave the files as they were. A running agent does not put it back.
    Uninstall,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// All settings.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Name of this node, as the controller knows it.
    #[arg(long, env = "WARREN_NODE", global = true, default_value = "")]
    pub node: String,
    /// cgroup v2 directory where programs attach: the root in production.
    #[arg(
        long,
        env = "WARREN_CGROUP",
        global = true,
        default_value = "/sys/fs/cgroup"
    )]
    pub cgroup: PathBuf,
    /// The tunnel's cgroup; without it, the one of the process that connects to the node socket.
    #[arg(long, env = "WARREN_TUNNEL_CGROUP")]
    pub tunnel_cgroup: Option<PathBuf>,
    /// The kubelet's cgroup; without it, that of the process named `kubelet`, or of the service of that name.
    #[arg(long, env = "WARREN_KUBELET_CGROUP")]
    pub kubelet_cgroup: Option<PathBuf>,
    /// Where maps and links are pinned; /sys/fs/bpf/warren/NODE by default.
    #[arg(long, env = "WARREN_PIN_DIR", global = true)]
    pub pin_dir: Option<PathBuf>,
    /// The kernel object; `warren-ebpf` beside this binary by default.
    #[arg(long, env = "WARREN_BPF_OBJECT")]
    pub bpf_object: Option<PathBuf>,
    /// The controller.
    #[arg(long, env = "WARREN_XDS", default_value = "https://localhost:15012")]
    pub xds: String,
    /// PEM file with the roots that the controller's certificate chains to.
    #[arg(long, env = "WARREN_ROOT_CERT")]
    pub root_cert: Option<PathBuf>,
    /// File with the bearer token for the controller.
    #[arg(long, env = "WARREN_TOKEN")]
    pub token: Option<PathBuf>,
    /// Name of this cluster, the first part of every workload's unique name.
    #[arg(long, env = "WARREN_CLUSTER_ID", default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Network of this node; empty is the default one.
    #[arg(long, env = "WARREN_NETWORK", default_value = "")]
    pub network: String,
    /// The host's network namespace; this process's own by default.
    #[arg(long, env = "WARREN_HOST_NETNS")]
    pub host_netns: Option<PathBuf>,
    /// Directory of sockets and of the remembered pods.
    #[arg(
        long,
        env = "WARREN_RUN_DIR",
        global = true,
        default_value = "/run/warren"
    )]
    pub run_dir: PathBuf,
    /// /proc/sys/net where the agent may write to it. Ports that pods of the mesh used are free again after one second by it.
    #[arg(long, env = "WARREN_SYSCTL_DIR", default_value = "/proc/sys/net")]
    pub sysctl_dir: PathBuf,
    /// Directory on the node's disk for what has to outlive its restart; without it, nothing does.
    #[arg(long, env = "WARREN_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The container runtime's socket (CRI); without it, containerd's, CRI-O's or k3s's, where there is one.
    #[arg(long, env = "WARREN_CRI_SOCKET")]
    pub cri_socket: Option<PathBuf>,
    /// Where metrics are served, besides RUN/agent-admin.sock.
    #[arg(long, env = "WARREN_METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
    /// Direct flows between pods of this node.
    #[arg(long, env = "WARREN_DIRECT_FLOWS", default_value = "on")]
    pub direct_flows: Switch,
    /// Namespace without direct flows; may be repeated, or separated by commas.
    #[arg(
        long = "direct-flows-off",
        env = "WARREN_DIRECT_FLOWS_OFF",
        value_delimiter = ','
    )]
    pub direct_flows_off: Vec<String>,
    /// How long listeners outlive a tunnel that is gone, before waiting clients are reset.
    #[arg(long, env = "WARREN_TUNNEL_WAIT", default_value = "10s", value_parser = duration)]
    pub tunnel_wait: Duration,
    /// How long a CNI ADD waits for controller and tunnel.
    #[arg(long, env = "WARREN_ADD_WAIT", global = true, default_value = "9s", value_parser = duration)]
    pub add_wait: Duration,
    /// Namespace whose pods start while controller or tunnel are away; may be repeated, or separated by commas.
    #[arg(
        long = "exempt-namespace",
        env = "WARREN_EXEMPT_NAMESPACE",
        global = true,
        value_delimiter = ',',
        default_value = "kube-system,warren-system"
    )]
    pub exempt_namespaces: Vec<String>,
    /// The host's folder of CNI programs. With --cni-conf-dir, the agent installs its plugin and keeps it in place.
    #[arg(long, env = "WARREN_CNI_BIN_DIR", global = true)]
    pub cni_bin_dir: Option<PathBuf>,
    /// The host's folder of CNI networks that the container runtime reads, such as /etc/cni/net.d.
    #[arg(long, env = "WARREN_CNI_CONF_DIR", global = true)]
    pub cni_conf_dir: Option<PathBuf>,
    /// The plugin to install; `warren-cni` beside this binary by default.
    #[arg(long, env = "WARREN_CNI_PLUGIN", global = true)]
    pub cni_plugin: Option<PathBuf>,
    /// The CNI socket's path on the host; RUN/cni.sock by default.
    #[arg(long, env = "WARREN_CNI_SOCKET", global = true)]
    pub cni_socket: Option<PathBuf>,
    /// Leave nothing on the node when the agent is asked to end: neither the plugin, nor pins, nor files in the run directory. Pods then talk in
    /// plaintext, and those that start before the next agent start outside the mesh.
    #[arg(long, env = "WARREN_CNI_REMOVE_ON_EXIT")]
    pub cni_remove_on_exit: bool,
    /// The kubelet's folder of pod logs, /var/log/pods on most nodes: with it, the agent finds pods that were here before it.
    #[arg(long, env = "WARREN_POD_LOGS_DIR")]
    pub pod_logs_dir: Option<PathBuf>,
    /// How often it looks for pods that no CNI ADD told of.
    #[arg(long, env = "WARREN_POD_SCAN_INTERVAL", default_value = "30s", value_parser = duration)]
    pub pod_scan_interval: Duration,
    /// How the access log of direct flows is written to standard output.
    #[arg(long, env = "WARREN_ACCESS_LOG", default_value = "text")]
    pub access_log: Format,
    /// What is logged to standard error, such as `info` or `info,warren_agent=debug`.
    #[arg(long, env = "WARREN_LOG", default_value = "info")]
    pub log: String,
    /// How it is logged: text or json.
    #[arg(long, env = "WARREN_LOG_FORMAT", default_value = "text")]
    pub log_format: warren_admin::Format,
    /// Name of this agent's pod.
    #[arg(long, env = "WARREN_POD_NAME", default_value = "")]
    pub pod_name: String,
    /// Namespace of this agent's pod.
    #[arg(long, env = "WARREN_POD_NAMESPACE", default_value = "warren-system")]
    pub pod_namespace: String,
    /// Address of this agent's pod.
    #[arg(long, env = "WARREN_POD_IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub pod_ip: IpAddr,
}

impl Settings {
    /// Where maps and links are pinned. The BPF file system allows no dots in names.
    pub fn pins(&self) -> PathBuf {
        let default = || PathBuf::from("/sys/fs/bpf/warren").join(self.node.replace('.', "_"));
        self.pin_dir.clone().unwrap_or_else(default)
    }

    /// The kernel object.
    pub fn object(&self) -> PathBuf {
        let beside = || {
            std::env::current_exe()
                .unwrap_or_default()
                .with_file_name("warren-ebpf")
        };
        self.bpf_object.clone().unwrap_or_else(beside)
    }

    /// The controller's roots.
    pub fn roots(&self) -> PathBuf {
        self.root_cert
            .clone()
            .unwrap_or_else(|| self.run_dir.join("root-cert.pem"))
    }

    /// The CNI plugin to install.
    pub fn cni_source(&self) -> PathBuf {
        let beside = || {
            std::env::current_exe()
                .unwrap_or_default()
                .with_file_name(crate::plugin::NAME)
        };
        self.cni_plugin.clone().unwrap_or_else(beside)
    }

    /// How a network namespace reuses ports in TIME_WAIT.
    pub fn port_reuse(&self) -> PathBuf {
        self.sysctl_dir.join("ipv4/tcp_tw_reuse")
    }

    /// The container runtime's socket.
    pub fn runtime_socket(&self) -> Option<PathBuf> {
        let usual = || {
            let mut all = USUAL_SOCKETS.iter().map(PathBuf::from);
            all.find(|path| path.exists())
        };
        self.cri_socket.clone().or_else(usual)
    }

    /// What was last heard of namespaces.
    pub fn memory(&self) -> Option<PathBuf> {
        self.state_dir
            .as_ref()
            .map(|dir| dir.join("namespaces.json"))
    }

    /// The host's network namespace.
    pub fn host_netns_path(&self) -> PathBuf {
        let own = || PathBuf::from("/proc/self/ns/net");
        self.host_netns.clone().unwrap_or_else(own)
    }

    /// What is wrong with them, if anything is.
    pub fn problem(&self) -> Option<String> {
        if self.node.is_empty() && self.pin_dir.is_none() {
            return Some(
                "--node is needed: the name of this node, as the controller knows it".into(),
            );
        }
        if self.cni_bin_dir.is_some() != self.cni_conf_dir.is_some() {
            return Some("--cni-bin-dir and --cni-conf-dir are needed together".into());
        }
        if self.pod_scan_interval < Duration::from_secs(1) {
            return Some("--pod-scan-interval has to be 1s or more".into());
        }
        if self.node.contains('/') {
            return Some(format!("--node `{}` is no name of a node", self.node));
        }
        None
    }
}

/// `500ms`, `10s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration; write it as 500ms, 10s, 2m or 1h");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u64 = text[..at].parse().map_err(|_| bad())?;
    match &text[at..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => number
            .checked_mul(60)
            .map(Duration::from_secs)
            .ok_or_else(bad),
        "h" => number
            .checked_mul(3600)
            .map(Duration::from_secs)
            .ok_or_else(bad),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "10", "s", "1d", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pins_of_a_node_have_no_dots() {
        let cli = Cli::try_parse_from(["warren-agent", "--node", "a.b.c"]).unwrap();
        assert_eq!(
            cli.settings.pins(),
            PathBuf::from("/sys/fs/bpf/warren/a_b_c")
        );
        assert_eq!(cli.settings.problem(), None);
        let cli = Cli::try_parse_from(["warren-agent", "cleanup", "--node", "a"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Cleanup)));
        assert_eq!(cli.settings.node, "a");
    }

    #[test]
    fn the_plugin_needs_both_folders() {
        let parse = |more: &[&str]| {
            let all = ["warren-agent", "--node", "a"].iter().chain(more);
            Cli::try_parse_from(all).unwrap()
        };
        let one = parse(&["--cni-bin-dir", "/opt/cni/bin"]);
        assert!(one.settings.problem().unwrap().contains("--cni-conf-dir"));
        let both = [
            "cni",
            "uninstall",
            "--cni-bin-dir",
            "/b",
            "--cni-conf-dir",
            "/c",
        ];
        let both = parse(&both);
        assert_eq!(both.settings.problem(), None);
        assert!(matches!(
            both.command,
            Some(Command::Cni(CniCommand::Uninstall))
        ));
        let often = parse(&["--pod-scan-interval", "10ms"]);
        assert!(often.settings.problem().is_some());
    }
}
