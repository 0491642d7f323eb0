//! The agent's parts against the real kernel: two pods in network namespaces of their own, a tunnel that the test plays.
//!
//! Needs root, iproute2, nsenter, python3, a cgroup v2 hierarchy, and the kernel object: its path in `WARREN_BPF_OBJECT`. Hence
//! ignored by default; run with `cargo test -p warren-agent --test kernel -- --ignored`.

use std::net::SocketAddr;
use std::time::Duration;

mod kernel {
    mod bytes;
    mod choice;
    mod found;
    mod full;
    mod leave;
    mod ports;
    pub mod rig;
    pub mod world;
}

use kernel::rig::{Rig, deny_all};
use kernel::world::World;

const REASON: &str = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT";

const FAMILIES: [bool; 2] = [true, false];

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn pods_are_captured_go_direct_and_are_ended_by_policy() {
    for v4 in FAMILIES {
        let world = World::new(if v4 { "flow4" } else { "flow6" }).expect(REASON);
        one_flow(&world, v4);
    }
}

fn one_flow(world: &World, v4: bool) {
    let mut rig = Rig::start(world);
    rig.enrol(&["a", "b"]);
    let to = SocketAddr::new(world.ip("b", v4), 8080);

    // The first connection takes the tunnel and asks for a verdict.
    let server = world.server("b", 8080);
    let captured = world.client("a", to);
    rig.accept_outbound("a", to);
    captured.join();
    rig.until("a verdict", |rig| rig.wanted > 0);

    // The next one is direct, and each end sees the other's true address.
    let direct = world.client("a", to);
    assert_eq!(server.line(), format!("accepted {}", world.ip("a", v4)));
    assert_eq!(direct.line(), format!("connected {} 8080", to.ip()));
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
    // The agent's own trial was a flow as well.
    rig.until("the flow's end", |rig| rig.closed == 2 && rig.live() == 0);
    assert_eq!(rig.trials, 1);
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn no_authorisation_outlives_its_connection() {
    for v4 in FAMILIES {
        let world = World::new(if v4 { "wait4" } else { "wait6" }).expect(REASON);
        let mut rig = Rig::start(&world);
        rig.enrol(&["a", "b"]);
        let to = SocketAddr::new(world.ip("b", v4), 8080);
        let _server = world.waiting_server("b", 8080);
        let captured = world.client("a", to);
        rig.accept_outbound("a", to);
        captured.join();
        rig.until("a verdict", |rig| rig.wanted > 0);
        let client = world.hasty_client("a", to);
        assert_eq!(client.line(), "connected");
        assert_eq!(client.line(), "left");
        assert_eq!(rig.authorised(), 0);
    }
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
    for v4 in FAMILIES {
        let to = SocketAddr::new(world.ip("b", v4), 8080);
        let captured = world.client("a", to);
        second.accept_outbound("a", to);
        captured.join();
    }
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn probes_reach_declared_ports_only_and_cleanup_leaves_nothing() {
    let world = World::new("probe").expect(REASON);
    let mut rig = Rig::start(&world);
    rig.enrol(&["a", "b"]);
    let server = world.server("b", 9090);
    for v4 in FAMILIES {
        let probe = world.probe(SocketAddr::new(world.ip("b", v4), 9090));
        assert_eq!(server.line(), format!("accepted {}", world.ip("node", v4)));
        drop(probe);
        assert_eq!(server.line(), "ended");
        let other = world.probe(SocketAddr::new(world.ip("b", v4), 8081));
        rig.accept_plaintext("b", v4);
        drop(other);
    }
    let removed = warren_agent::bpf::cleanup(&world.pins()).expect("cleanup");
    assert!(removed > 20, "{removed}");
    assert!(!world.pins().exists());
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn a_tunnel_is_answered_until_its_successor_has_one_too() {
    let world = World::new("turns").expect(REASON);
    let mut rig = Rig::start(&world);
    rig.enrol(&["a", "b"]);
    // This process stays in the first tunnel's cgroup.
    for (link, cgroup, answered) in [(2, "system/agent", true), (3, "system/kubelet", false)] {
        rig.replace_tunnel(link, &world.cgroup(cgroup));
        for v4 in FAMILIES {
            let client = world.client("a", SocketAddr::new(world.ip("b", v4), 8080));
            assert_eq!(rig.is_answered("a", v4), answered, "tunnel {link}");
            drop(client);
        }
    }
}
