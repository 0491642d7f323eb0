//! An agent that starts takes over what an earlier one left: pods in the mesh stay in it without a gap.

use std::sync::Arc;
use std::time::Instant;

use warren_abi::{CONFIG_DIRECT, Config};

use super::Node;
use super::presume::SILENCE;
use crate::bpf::Existing;
use crate::kernel::Kernel;
use crate::netns::Netns;
use crate::pods::memory::Namespaces;
use crate::pods::store::Saved;
use crate::pods::{Pod, Record, Stage};

/// What an earlier agent left.
#[derive(Debug, Default)]
pub struct Leftover {
    /// The file.
    pub saved: Saved,
    /// What was last heard of namespaces.
    pub memory: Namespaces,
    /// The maps.
    pub existing: Existing,
    /// No generation of an earlier agent is as high: where the settings were lost, verdicts may have been left.
    pub above_all: u64,
    /// Cookie of the host's network namespace.
    pub host_netns: u64,
    /// Id of the tunnel's cgroup, or 0.
    pub tunnel_cgroup: u64,
    /// Id of the kubelet's cgroup, or 0.
    pub kubelet_cgroup: u64,
}

impl<K: Kernel> Node<K> {
    /// Takes over. `open` opens a network namespace (and waits for it: programs are attached only after this).
    pub fn restore(
        &mut self,
        left: Leftover,
        open: impl Fn(&Record) -> std::io::Result<Netns>,
        now: Instant,
    ) {
        let old = left.existing.config;
        self.config = Config {
            generation: match old.generation {
                0 => left.above_all,
                before => before,
            } + 1,
            host_netns: left.host_netns,
            tunnel_cgroups: old.tunnel_cgroups,
            kubelet_cgroup: left.kubelet_cgroup,
            flags: if self.options.direct.off {
                0
            } else {
                CONFIG_DIRECT
            },
            reserved: 0,
        };
        self.cgroups(left.tunnel_cgroup, left.kubelet_cgroup);
        // A number is never given twice, even if the file is lost: verdicts are kept by number.
        self.next_number = left.saved.next_number.max(left.existing.max_workload + 1);
        self.services.adopt(left.existing.services.clone());
        self.memory = left.memory;
        for record in left.saved.pods {
            self.adopt(record, &open, now);
        }
        self.drop_leftovers(&left.existing);
        self.write_config();
        let done = self.kernel.clear_flows();
        self.done(done);
        self.save();
    }

    fn adopt(
        &mut self,
        record: Record,
        open: impl Fn(&Record) -> std::io::Result<Netns>,
        now: Instant,
    ) {
        let netns = match open(&record) {
            Ok(netns) if record.cookie == netns.cookie || record.cookie == 0 => netns,
            Ok(_) => return self.gone(&record, "its network namespace was replaced"),
            Err(error) => return self.gone(&record, &error.to_string()),
        };
        let mut pod = Pod::new(record);
        let (uid, number, enrolled) = (pod.uid.clone(), pod.record.number, pod.record.enrolled);
        pod.record.cookie = netns.cookie;
        pod.netns = Some(Arc::new(netns));
        // Only of those taken in doubt anything is presumed: a label that a running pod was given later is unknown to its sandbox.
        pod.silent_at = pod.record.in_doubt.then(|| now + SILENCE);
        pod.stage = if enrolled {
            Stage::Enrolled
        } else {
            Stage::Idle
        };
        self.by_number.insert(number, uid.clone());
        self.pods.insert(uid.clone(), pod);
        if enrolled {
            // Pinned maps hold this already; those that had to be made anew do not.
            let done = self.put_entries(&uid);
            self.done(done);
            self.reuse_ports(&uid);
            if let Some(netns) = self.pods.get(&uid).and_then(|p| p.netns.clone()) {
                let done = self
                    .kernel
                    .attach_lookup(netns.cookie, std::os::fd::AsFd::as_fd(&*netns));
                self.done(done);
            }
        }
        if !enrolled && let Some(pod) = self.pods.get(&uid) {
            // An agent that ended in the middle of a farewell left it.
            let done = self.kernel.detach_lookup(pod.record.cookie);
            self.done(done);
        }
        self.reconcile(&uid, now);
    }

    fn gone(&mut self, record: &Record, why: &str) {
        tracing::info!(
            workload = record.workload,
            "a remembered pod is gone: {why}"
        );
        let done = self.kernel.remove_pod(record.cookie);
        self.done(done);
        let done = self.kernel.detach_lookup(record.cookie);
        self.done(done);
    }

    /// Addresses and probe ports of pods that went while no agent ran. Pods that nobody remembers stay captured: rather closed
    /// than open.
    fn drop_leftovers(&mut self, existing: &Existing) {
        let mine = |ip: &std::net::IpAddr| {
            self.pods
                .values()
                .any(|p| p.stage == Stage::Enrolled && p.record.addresses.contains(ip))
        };
        let ips: Vec<_> = existing
            .local
            .iter()
            .filter(|ip| !mine(ip))
            .copied()
            .collect();
        let ports: Vec<_> = existing
            .probe_ports
            .iter()
            .filter(|(ip, _)| !mine(ip))
            .copied()
            .collect();
        for ip in ips {
            let done = self.kernel.remove_local(ip);
            self.done(done);
        }
        for (ip, port) in ports {
            let done = self.kernel.remove_probe_port(ip, port);
            self.done(done);
        }
        for (cookie, pod) in &existing.pods {
            if !self.pods.values().any(|p| p.record.cookie == *cookie) {
                let (ip4, ip6): (std::net::IpAddr, std::net::IpAddr) =
                    (pod.ip4.into(), pod.ip6.into());
                tracing::warn!(cookie, %ip4, %ip6, "a captured pod is not remembered; it stays closed until it is added again");
            }
        }
    }
}
