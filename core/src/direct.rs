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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::NetworkAddress;
    use crate::workload::{GatewayAddress, GatewayDestination, TunnelProtocol};

    fn enrolled(name: &str) -> Workload {
        Workload {
            protocol: TunnelProtocol::Hbone,
            node: "n1".into(),
            cluster: "c1".into(),
            ..Workload::new(name, "shop", name)
        }
    }

    fn waypoint() -> Option<GatewayAddress> {
        let ip = "10.0.0.1".parse().expect("an address");
        let destination = GatewayDestination::Address(NetworkAddress::local(ip));
        Some(GatewayAddress {
            destination,
            hbone_port: 15008,
        })
    }

    type Edit = fn(&mut Workload);

    /// Who is different from two enrolled workloads on one node, how, and what it means.
    #[test]
    #[rustfmt::skip]
    fn each_condition_alone_refuses() {
        let none: Edit = |_| {};
        let rows: [(&str, Edit, Edit, Result<(), NotDirect>); 14] = [
            ("alike",                            none,                           none, Ok(())),
            ("another node",                     none, |w| w.node = "n2".into(),       Err(NotDirect::OtherNode)),
            ("same node name elsewhere",         none, |w| w.cluster = "c2".into(),    Err(NotDirect::OtherNode)),
            ("no node", |w| w.node = "".into(),        |w| w.node = "".into(),         Err(NotDirect::OtherNode)),
            ("source not enrolled",              |w| w.protocol = TunnelProtocol::None, none, Err(NotDirect::NotEnrolled)),
            ("destination not enrolled",         none, |w| w.protocol = TunnelProtocol::None, Err(NotDirect::NotEnrolled)),
            ("source on the host network",       |w| w.host_network = true,      none, Err(NotDirect::HostNetwork)),
            ("destination on the host network",  none, |w| w.host_network = true,      Err(NotDirect::HostNetwork)),
            ("source speaks HBONE",              |w| w.native_tunnel = true,     none, Err(NotDirect::NativeTunnel)),
            ("destination speaks HBONE",         none, |w| w.native_tunnel = true,     Err(NotDirect::NativeTunnel)),
            ("the source's waypoint is not asked", |w| w.waypoint = waypoint(),  none, Ok(())),
            ("waypoint of the destination",      none, |w| w.waypoint = waypoint(),    Err(NotDirect::Waypoint)),
            ("source wants the tunnel",          |w| w.direct_flows_off = true,  none, Err(NotDirect::TurnedOff)),
            ("destination wants the tunnel",     none, |w| w.direct_flows_off = true,  Err(NotDirect::TurnedOff)),
        ];
        for (what, edit_src, edit_dst, expected) in rows {
            let (mut src, mut dst) = (enrolled("a"), enrolled("b"));
            edit_src(&mut src);
            edit_dst(&mut dst);
            let settings = DirectSettings::default();
            assert_eq!(
                check_direct(&src, &dst, false, &settings),
                expected,
                "{what}"
            );
            assert_eq!(
                may_be_direct(&src, &dst, false, &settings),
                expected.is_ok(),
                "{what}"
            );
        }
    }

    #[test]
    fn service_and_settings_refuse() {
        let (src, dst) = (enrolled("a"), enrolled("b"));
        let on = DirectSettings::default();
        assert_eq!(
            check_direct(&src, &dst, true, &on),
            Err(NotDirect::Waypoint)
        );
        let off = DirectSettings { off: true, ..on };
        assert_eq!(
            check_direct(&src, &dst, false, &off),
            Err(NotDirect::TurnedOff)
        );
        let namespaces_off = ["bank".into()].into();
        let bank_off = DirectSettings {
            off: false,
            namespaces_off,
        };
        assert_eq!(check_direct(&src, &dst, false, &bank_off), Ok(()));
        for (src_namespace, dst_namespace) in [("bank", "shop"), ("shop", "bank")] {
            let src = Workload {
                namespace: src_namespace.into(),
                ..src.clone()
            };
            let dst = Workload {
                namespace: dst_namespace.into(),
                ..dst.clone()
            };
            assert_eq!(
                check_direct(&src, &dst, false, &bank_off),
                Err(NotDirect::TurnedOff)
            );
        }
    }
}
