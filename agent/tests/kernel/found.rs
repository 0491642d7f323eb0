//! Pods that were there before the agent, found by their processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use warren_agent::cni::Request;
use warren_agent::scan::Scan;

const UID: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";
const HOST_UID: &str = "0a1b2c3d-0000-4000-8000-0123456789ac";

/// A node's cgroups, processes and log folders; removed at the end.
struct Node {
    cgroup: PathBuf,
    netns: String,
    logs: tempfile::TempDir,
    processes: Vec<Child>,
}

impl Node {
    fn new() -> Self {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.iter().find(|p| p.join("cgroup.procs").exists());
        let name = format!("wfound-{}", std::process::id());
        let node = Self {
            cgroup: root.expect(crate::REASON).join(&name),
            netns: name,
            logs: tempfile::tempdir().unwrap(),
            processes: Vec::new(),
        };
        let ns = &node.netns;
        let script = format!(
            "ip netns add {ns} && ip -n {ns} link set lo up && \
             ip -n {ns} link add eth0 type veth peer name other && ip -n {ns} addr add 10.97.0.5/24 dev eth0 && \
             ip -n {ns} addr add fd97::5/64 dev eth0 nodad && ip -n {ns} addr add 10.97.1.5/24 dev other && \
             ip -n {ns} link set other up && ip -n {ns} link set eth0 up"
        );
        assert!(sh(&script), "{}", crate::REASON);
        node
    }

    fn pod(&mut self, folder: &str, uid: &str) -> PathBuf {
        fs::create_dir(self.logs.path().join(format!("{folder}_{uid}"))).unwrap();
        let cgroup = self.cgroup.join(format!("kubepods/burstable/pod{uid}/c1"));
        fs::create_dir_all(&cgroup).expect(crate::REASON);
        cgroup
    }

    /// A process that stays, in a cgroup.
    fn run(&mut self, cgroup: &Path, command: &[&str]) {
        let child = Command::new(command[0])
            .args(&command[1..])
            .spawn()
            .unwrap();
        fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        self.processes.push(child);
    }

    fn look(&self, known: &[(&str, &str)]) -> Vec<Request> {
        let scan = Scan {
            logs: self.logs.path().to_owned(),
            host: "/proc/self/ns/net".into(),
            interval: Duration::from_secs(30),
        };
        let known: BTreeSet<_> = known
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect();
        scan.look(&known).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        sh(&format!("ip netns del {}", self.netns));
        sh(&format!(
            "find {} -depth -type d -exec rmdir {{}} +",
            self.cgroup.display()
        ));
    }
}

fn sh(script: &str) -> bool {
    Command::new("sh")
        .args(["-c", script])
        .status()
        .is_ok_and(|s| s.success())
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn pods_that_run_are_found_with_names_namespaces_and_addresses() {
    let mut node = Node::new();
    let netns = node.netns.clone();
    let cgroup = node.pod("shop_web-0", UID);
    assert!(node.look(&[]).is_empty(), "nothing runs yet");
    node.run(&cgroup, &["ip", "netns", "exec", &netns, "sleep", "300"]);
    // Later processes may make namespaces as they like.
    std::thread::sleep(Duration::from_millis(50));
    node.run(&cgroup, &["unshare", "-n", "sleep", "300"]);
    let host = node.pod("kube-system_proxy", HOST_UID);
    node.run(&host, &["sleep", "300"]);
    std::thread::sleep(Duration::from_millis(300));

    let found = node.look(&[]);
    assert_eq!(
        found.len(),
        1,
        "the other one is in the host's network namespace: {found:?}"
    );
    let pod = &found[0];
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()),
        ("shop", "web-0", UID)
    );
    let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.97.0.5", "fd97::5"]);
    assert_eq!(
        pod.netns.file_name().and_then(|n| n.to_str()),
        Some(netns.as_str()),
        "the mount, not the process"
    );
    assert_eq!(pod.problem(), None);
    assert!(node.look(&[("shop", "web-0")]).is_empty(), "known already");
}
