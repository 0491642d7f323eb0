//! The agent's parts against the real kernel: two pods in network namespaces of their own, a tunnel that the test plays.
//!
//! Needs root, iproute2, nsenter, python3, a cgroup v2 hierarchy, and the kernel object: its path in `WARREN_BPF_OBJECT`. Hence
//! ignored by default; run with `cargo test -p warren-agent --test kernel -- --ignored`.

use std::time::Duration;

mod kernel {
    pub mod rig;
    pub mod world;
}

use kernel::rig::{Rig, deny_all};
use kernel::world::World;

const REASON: &str = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT";

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn pods_are_captured_go_direct_and_are_ended_by_policy() {
    let world = World::new("flow").expect(REASON);
    let mut rig = Rig::start(&world);
    rig.enrol(&["a", "b"]);

    // The first connection takes the tunnel and asks for a verdict.
    let server = world.server("b", 8080);
    let captured = world.client("a", &world.ip("b"), 8080);
    rig.accept_outbound("a", &format!("{}:8080", world.ip("b")));
    captured.join();
    rig.until("a verdict", |rig| rig.wanted > 0);

    // The next one is direct, and each end sees the other's true address.
    let direct = world.client("a", &world.ip("b"), 8080);
    assert_eq!(server.line(), format!("accepted {}", world.ip("a")));
    assert_eq!(direct.line(), format!("connected {}:8080", world.ip("b")));
    rig.until("a live direct flow", |rig| rig.live() == 1);

    // A policy that denies ends it at both ends, within a second.
    let before = std::time::Instant::now();
    rig.policy(deny_all("test"));
    let ended = ["ended ECONNABORTED", "ended ECONNRESET"];
    assert!(ended.contains(&direct.line().as_str()));
    assert!(ended.contains(&server.line().as_str()));
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    rig.until("the flow's end", |rig| rig.closed == 2 && rig.live() == 0);
    assert_eq!(rig.trials, 1);
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn a_second_agent_updates_programs_in_place_and_pods_stay_captured() {
    let world = World::new("restart").expect(REASON);
    let mut rig = Rig::start(&world);
    rig.enrol(&["a", "b"]);
    let before = world.links();
    let mut second = rig.restart(&world);
    let after = world.links();
    assert_eq!(before.len(), 9, "{before:?}");
    let ids = |links: &[(u32, u32)]| links.iter().map(|(link, _)| *link).collect::<Vec<_>>();
    assert_eq!(ids(&before), ids(&after), "the links are the same");
    assert!(
        before.iter().zip(&after).all(|(b, a)| b.1 != a.1),
        "their programs are new"
    );
    let captured = world.client("a", &world.ip("b"), 8080);
    second.accept_outbound("a", &format!("{}:8080", world.ip("b")));
    captured.join();
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn probes_reach_declared_ports_only_and_cleanup_leaves_nothing() {
    let world = World::new("probe").expect(REASON);
    let mut rig = Rig::start(&world);
    rig.enrol(&["a", "b"]);
    let server = world.server("b", 9090);
    let probe = world.probe(&world.ip("b"), 9090);
    assert_eq!(server.line(), format!("accepted {}", world.node_ip()));
    drop(probe);
    let other = world.probe(&world.ip("b"), 8081);
    rig.accept_plaintext("b");
    drop(other);
    let removed = warren_agent::bpf::cleanup(&world.pins()).expect("cleanup");
    assert!(removed > 20, "{removed}");
    assert!(!world.pins().exists());
}
