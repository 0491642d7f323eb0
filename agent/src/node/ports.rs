//! Ports of pods that call often. A captured connection's source port belongs to the pod and port 15001 whatever its destination, so
//! those of connections that the pod was first to close would be missing for a minute, to all destinations. Timestamps let a port be
//! used again after one second: `tcp_tw_reuse`, which each network namespace has for itself and for both families.

use warren_core::workload::Uid;

use super::Node;
use crate::kernel::Kernel;

/// `tcp_tw_reuse`: for new connections to any address. Linux' default, 2, is for loopback addresses only.
const ANY_ADDRESS: u8 = 1;

impl<K: Kernel> Node<K> {
    /// Lets a pod's ports be used again early. It can do without, so a failure does not keep it out of the mesh.
    pub(super) fn reuse_ports(&mut self, uid: &Uid) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let Some(netns) = pod.netns.clone() else {
            return;
        };
        if pod.record.former_port_reuse.is_some() {
            return;
        }
        let sysctl = &self.options.port_reuse;
        match self.kernel.set_port_reuse(&netns, sysctl, ANY_ADDRESS) {
            Ok(former) => pod.record.former_port_reuse = Some(former),
            Err(error) if !std::mem::replace(&mut self.ports_said, true) => tracing::warn!(
                workload = %uid,
                "{}: {error}; a pod that opens and closes more than 400 connections a second may run out of ports. Let --sysctl-dir \
                 name a writable mount of the node's /proc/sys/net, or set net.ipv4.tcp_tw_reuse=1 in such pods",
                sysctl.display()
            ),
            Err(error) => tracing::debug!(workload = %uid, %error, "ports are not reused early"),
        }
    }

    /// Gives a pod that is let go its own setting back.
    pub(super) fn restore_ports(&mut self, uid: &Uid) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        let (Some(former), Some(netns)) = (pod.record.former_port_reuse.take(), &pod.netns) else {
            return;
        };
        let sysctl = &self.options.port_reuse;
        if let Err(error) = self.kernel.set_port_reuse(netns, sysctl, former) {
            tracing::warn!(workload = %uid, "{} stays {ANY_ADDRESS} in the pod, and was {former}: {error}", sysctl.display());
        }
    }
}
