//! The kernel's own choice among a Service's backends, as the tunnel is told of it.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use warren_abi::{OriginalDst, SOL_WARREN, WARREN_ORIGINAL_DST};
use warren_agent::node::Input;
use warren_api::node::Traffic;
use warren_api::xds::Update;
use warren_core::address::NetworkAddress;
use warren_core::service::{LoadBalancing, PortMapping};
use warren_core::{Service, Workload};

use super::rig::{Rig, workload};
use super::world::World;
use crate::{FAMILIES, REASON};

/// Enough that chance alone stays within a twelfth of all, four and a half times its standard deviation.
const CONNECTIONS: usize = 600;

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn backends_are_chosen_by_weight_and_the_tunnel_is_told_which() {
    for v4 in FAMILIES {
        let world = World::new(if v4 { "choice4" } else { "choice6" }).expect(REASON);
        let mut rig = Rig::start(&world);
        rig.enrol(&["a"]);
        let address = |four: &str, six: &str| -> IpAddr {
            if v4 { four } else { six }.parse().expect("an address")
        };
        let (light, heavy) = (
            address("10.97.0.1", "fd97::1"),
            address("10.97.0.2", "fd97::2"),
        );
        let asked = SocketAddr::new(address("10.96.0.1", "fd96::1"), 80);
        serve(&mut rig, asked, &[("light", light, 1), ("heavy", heavy, 3)]);
        let client = world.repeated_client("a", asked, CONNECTIONS);
        let mut chosen: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for _ in 0..CONNECTIONS {
            let told = told(&rig.accept("a", Traffic::Outbound, v4));
            assert_eq!(socket(told.ip, told.port), asked);
            let backend = socket(told.backend, told.backend_port);
            *chosen.entry(backend).or_default() += 1;
        }
        assert_eq!(client.line(), "done");
        let share = |ip| chosen[&SocketAddr::new(ip, 8080)] as f64 / CONNECTIONS as f64;
        assert_eq!(chosen.len(), 2, "{chosen:?}");
        assert!((share(heavy) - 0.75).abs() < 1.0 / 12.0, "{chosen:?}");
        assert!((share(light) - 0.25).abs() < 1.0 / 12.0, "{chosen:?}");
    }
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn a_service_that_changes_all_the_time_refuses_only_ports_that_it_does_not_have() {
    let world = World::new("churn").expect(REASON);
    let mut rig = Rig::start(&world);
    rig.enrol(&["a"]);
    let (one, other): (IpAddr, IpAddr) = ([10, 97, 0, 1].into(), [10, 97, 0, 2].into());
    let asked = SocketAddr::from(([10, 96, 0, 1], 80));
    serve(&mut rig, asked, &[("one", one, 1), ("other", other, 1)]);
    let client = world.repeated_client("a", asked, 4 * CONNECTIONS);
    for connection in 0..4 * CONNECTIONS {
        for change in 0..8 {
            let weight = 1 + u32::try_from(connection + change).expect("small") % 7;
            serve(
                &mut rig,
                asked,
                &[("one", one, weight), ("other", other, 1)],
            );
        }
        drop(rig.accept("a", Traffic::Outbound, true));
    }
    assert_eq!(client.line(), "done");
    let other_port = SocketAddr::new(asked.ip(), 81);
    assert_eq!(world.client("a", other_port).line(), "ended ECONNREFUSED");
}

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn a_direct_flow_by_a_service_leaves_no_entry() {
    for v4 in FAMILIES {
        let world = World::new(if v4 { "left4" } else { "left6" }).expect(REASON);
        let mut rig = Rig::start(&world);
        rig.enrol(&["a", "b"]);
        let pod = SocketAddr::new(world.ip("b", v4), 8080);
        let service = if v4 { "10.96.0.1" } else { "fd96::1" };
        let asked = SocketAddr::new(service.parse().expect("an address"), 80);
        let backend = workload("b", &[world.ip("b", true), world.ip("b", false)]);
        serve_by(&mut rig, asked, vec![backend]);
        let _server = world.server("b", pod.port());
        let captured = world.client("a", pod);
        rig.accept_outbound("a", pod);
        captured.join();
        rig.until("a verdict", |rig| rig.wanted > 0);
        assert_eq!(world.repeated_client("a", asked, 10).line(), "done");
        rig.until("no entry", |rig| rig.entries("conns") == 0);
    }
}

/// A Service whose backends are on another node.
fn serve(rig: &mut Rig, asked: SocketAddr, backends: &[(&str, IpAddr, u32)]) {
    let pod = |(name, ip, weight): &(&str, IpAddr, u32)| {
        let mut pod = workload(name, &[*ip]);
        (pod.node, pod.capacity) = ("elsewhere".into(), *weight);
        pod
    };
    serve_by(rig, asked, backends.iter().map(pod).collect());
}

fn serve_by(rig: &mut Rig, asked: SocketAddr, backends: Vec<Workload>) {
    let service = Service {
        name: "web".into(),
        namespace: "test".into(),
        hostname: "web.test.svc.cluster.local".into(),
        addresses: vec![NetworkAddress::local(asked.ip())],
        ports: vec![PortMapping {
            service_port: asked.port(),
            target_port: 8080,
        }],
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: LoadBalancing::default(),
    };
    let key = service.key();
    let member = |mut pod: Workload| {
        pod.services = BTreeMap::from([(key.clone(), Vec::new())]);
        Arc::new(pod)
    };
    rig.send(Input::Xds(Box::new(Update {
        workloads: backends.into_iter().map(member).collect(),
        services: vec![Arc::new(service)],
        ..Update::default()
    })));
}

fn socket(ip: warren_abi::Ip, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// What the tunnel reads of a connection that it accepted.
fn told(stream: &std::net::TcpStream) -> OriginalDst {
    let mut value = MaybeUninit::<OriginalDst>::zeroed();
    let mut len = size_of::<OriginalDst>() as libc::socklen_t;
    // SAFETY: the buffer is as long as `len` says, and any bytes are a valid `OriginalDst`.
    let (rc, value) = unsafe {
        let rc = libc::getsockopt(
            stream.as_raw_fd(),
            SOL_WARREN,
            WARREN_ORIGINAL_DST,
            value.as_mut_ptr().cast(),
            &mut len,
        );
        (rc, value.assume_init())
    };
    assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
    value
}
