//! Pods' ports, which are reused early for as long as they are in the mesh.

use std::path::Path;
use std::sync::Arc;

use warren_agent::netns::Netns;
use warren_agent::node::Input;
use warren_api::xds::Update;
use warren_core::workload::TunnelProtocol;

use super::rig::{Rig, workload};
use super::world::World;

const SYSCTL: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";

fn value(world: &World, netns: &str) -> String {
    let netns = Netns::open(&world.netns(netns)).expect("a network namespace");
    let value = netns.run(|| std::fs::read_to_string(SYSCTL));
    value.expect("the sysctl").trim().to_owned()
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn ports_are_reused_early_in_the_mesh_and_as_before_outside() {
    let world = World::new("ports").expect(super::super::REASON);
    let set = |pod: &str, to: u8| {
        let netns = Netns::open(&world.netns(pod)).expect("a network namespace");
        let former = netns.swap_sysctl(Path::new(SYSCTL), to);
        former.expect("the sysctl can be written")
    };
    set("a", 0);
    set("b", 2);
    let others = (value(&world, "node"), std::fs::read(SYSCTL).expect("own"));
    let mut rig = Rig::start(&world);
    rig.enrol(&["a", "b"]);
    assert_eq!(
        (value(&world, "a"), value(&world, "b")),
        ("1".into(), "1".into())
    );

    let leaver = |pod| {
        let mut left = workload(pod, &[world.ip(pod, true), world.ip(pod, false)]);
        left.protocol = TunnelProtocol::None;
        Arc::new(left)
    };
    rig.send(Input::Xds(Box::new(Update {
        workloads: vec![leaver("a")],
        ..Update::default()
    })));
    assert_eq!(
        (value(&world, "a"), value(&world, "b")),
        ("0".into(), "1".into())
    );
    rig.send(Input::Xds(Box::new(Update {
        workloads: vec![leaver("b")],
        ..Update::default()
    })));
    assert_eq!(value(&world, "b"), "2");
    let untouched = (value(&world, "node"), std::fs::read(SYSCTL).expect("own"));
    assert_eq!(untouched, others);
}
