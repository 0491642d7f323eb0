//! Whether two workloads may speak without the tunnel, on the kernel's word alone (a direct flow).
//!
//! Policy is asked apart from this, by [`crate::Mesh::decide`].

use std::collections::HashSet;
use std::sync::Arc;

use crate::workload::Workload;

/// Where direct flows are turned off, beyond what single workloads say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectSettings {
    /// For the whole mesh.
    pub off: bool,
    /// For these namespaces, on either end.
    pub namespaces_off: HashSet<Arc<str>>,
}

/// Why a flow has to take the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotDirect {
    /// They are on different nodes, or one's node is unknown.
    #[error("the two workloads are not on one node")]
    OtherNode,
    /// One of them is not in the mesh.
    #[error("one of the workloads is not enrolled")]
    NotEnrolled,
    /// One of them shares its node's network, so its address is not its own.
    #[error("one of the workloads uses the host network")]
    HostNetwork,
    /// One of them terminates HBONE itself.
    #[error("one of the workloads speaks HBONE itself")]
    NativeTunnel,
    /// The service or the destination has a waypoint.
    #[error("the traffic has to pass a waypoint")]
    Waypoint,
    /// Turned off for the mesh, the namespace or the workload, on either end.
    #[error("direct flows are turned off for the mesh, a namespace or a workload")]
    TurnedOff,
}

/// Whether a connection from `src` to `dst` may be a direct flow; `service_waypoint` says whether it was made to a
/// service that has a waypoint.
pub fn may_be_direct(
    src: &Workload,
    dst: &Workload,
    service_waypoint: bool,
    settings: &DirectSettings,
) -> bool {
    check_direct(src, dst, service_waypoint, settings).is_ok()
}

/// [`may_be_direct`] with the reason.
///
/// # Errors
/// Why it has to take the tunnel.
pub fn check_direct(
    src: &Workload,
    dst: &Workload,
    service_waypoint: bool,
    settings: &DirectSettings,
) -> Result<(), NotDirect> {
    let both = [src, dst];
    let off = |w: &Workload| w.direct_flows_off || settings.namespaces_off.contains(&w.namespace);
    if src.node.is_empty() || src.node != dst.node || src.cluster != dst.cluster {
        Err(NotDirect::OtherNode)
    } else if both.iter().any(|w| w.host_network) {
        Err(NotDirect::HostNetwork)
    } else if both.iter().any(|w| !w.is_enrolled()) {
        Err(NotDirect::NotEnrolled)
    } else if both.iter().any(|w| w.native_tunnel) {
        Err(NotDirect::NativeTunnel)
    } else if service_waypoint || dst.waypoint.is_some() {
        Err(NotDirect::Waypoint)
    } else if settings.off || both.iter().any(|w| off(w)) {
        Err(NotDirect::TurnedOff)
    } else {
        Ok(())
    }
}
