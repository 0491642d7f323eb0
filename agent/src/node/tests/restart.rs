//! Tunnels and agents that go and return: who holds the listeners when.

use warren_api::node::{Family, ListenerKind, Traffic};

use super::*;
use crate::bpf::Existing;

#[test]
fn listeners_outlive_a_tunnel_for_a_while_and_go_to_its_successor() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let cookie = rig.enrolled("web", "10.0.0.1");
    rig.send(Input::TunnelDown { link: 1 });
    rig.pass(Duration::from_secs(9));
    assert_eq!(rig.node.kernel.listeners.len(), 3);
    rig.tunnel_up(2);
    let offered = |t: &ToTunnel| matches!(t, ToTunnel::AddPod { netns_cookie, .. } if *netns_cookie == cookie);
    assert!(offered(&rig.told[0]), "{:?}", rig.told);
    assert!(matches!(rig.told[1], ToTunnel::Synced {}));
    assert!(rig.node.kernel.pods.contains_key(&cookie));
}

#[test]
fn a_tunnel_that_stays_away_loses_its_listeners_but_capture_goes_on() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let cookie = rig.enrolled("web", "10.0.0.1");
    rig.send(Input::TunnelDown { link: 1 });
    rig.pass(Duration::from_secs(11));
    assert!(rig.node.kernel.listeners.is_empty(), "clients are reset");
    assert!(
        rig.node.kernel.pods.contains_key(&cookie) && rig.node.kernel.lookups.contains_key(&cookie)
    );
    rig.tunnel_up(2);
    assert_eq!(rig.node.kernel.listeners.len(), 3);
    assert!(
        rig.told
            .iter()
            .any(|t| matches!(t, ToTunnel::AddPod { .. }))
    );
}

#[test]
fn the_end_of_an_older_connection_means_nothing() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.tunnel_up(2);
    rig.send(Input::TunnelDown { link: 1 });
    assert_eq!(rig.node.view().tunnel.as_deref(), Some("tunnel-2"));
}

fn left(rig: &Rig) -> Leftover {
    let kernel = &rig.node.kernel;
    let existing = Existing {
        config: kernel.config,
        pods: kernel.pods.iter().map(|(c, p)| (*c, *p)).collect(),
        local: kernel.local.keys().copied().collect(),
        max_workload: kernel.pods.values().map(|p| p.workload).max().unwrap_or(0),
        ..Existing::default()
    };
    Leftover {
        saved: rig.saved.clone().unwrap(),
        existing,
        ..Leftover::default()
    }
}

fn answer_recover(rig: &mut Rig) {
    let kinds = [Traffic::Outbound, Traffic::Plaintext, Traffic::Hbone];
    let listeners: Vec<_> = kinds
        .map(|kind| ListenerKind {
            kind,
            family: Family::V4,
        })
        .into();
    let message = ToAgent::Listeners {
        uid: uid("web").to_string(),
        listeners,
    };
    rig.send(Input::FromTunnel {
        link: 1,
        message,
        fds: vec![null(), null(), null()],
    });
}

#[test]
fn an_agent_that_starts_keeps_pods_captured_and_asks_the_tunnel_for_listeners() {
    let mut old = Rig::new();
    old.tunnel_up(1);
    let cookie = old.enrolled("web", "10.0.0.1");
    let generation = old.node.kernel.config.generation;
    let mut rig = Rig::with(left(&old));
    assert!(
        rig.node.kernel.pods.contains_key(&cookie) && rig.node.kernel.lookups.contains_key(&cookie)
    );
    assert!(rig.node.kernel.config.generation > generation);
    rig.tunnel_up(1);
    assert!(
        matches!(rig.told[..], [ToTunnel::Recover {}]),
        "{:?}",
        rig.told
    );
    answer_recover(&mut rig);
    assert_eq!(rig.node.pods[&uid("web")].listeners.len(), 3);
    assert!(matches!(rig.told.last(), Some(ToTunnel::Synced {})));
}

#[test]
fn listeners_that_no_tunnel_has_are_made_anew() {
    let mut old = Rig::new();
    old.tunnel_up(1);
    old.enrolled("web", "10.0.0.1");
    let mut rig = Rig::with(left(&old));
    rig.tunnel_up(1);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.node.kernel.listeners.len(), 3);
    assert!(
        rig.told
            .iter()
            .any(|t| matches!(t, ToTunnel::AddPod { .. }))
    );
}

#[test]
fn numbers_are_not_given_again_even_if_the_file_is_lost() {
    let mut old = Rig::new();
    old.tunnel_up(1);
    old.enrolled("web", "10.0.0.1");
    let used = old.number("web");
    let mut lost = left(&old);
    lost.saved = Saved::default();
    let mut rig = Rig::with(lost);
    let _answer = rig.add("api", "10.0.0.2");
    assert!(rig.number("api") > used);
}

#[test]
fn a_pod_whose_namespace_was_replaced_is_let_go() {
    let mut old = Rig::new();
    old.tunnel_up(1);
    old.enrolled("web", "10.0.0.1");
    let mut changed = left(&old);
    changed.saved.pods[0].cookie += 1;
    let options = old.node.options.clone();
    let mesh = Arc::new(RwLock::new(Mesh::default()));
    let mut node = Node::new(
        options,
        FakeKernel::default(),
        mesh,
        Arc::new(Names::default()),
        old.now,
    );
    let cookie = changed.saved.pods[0].cookie;
    node.restore(changed, |_| Ok(Netns::fake(cookie + 5)), old.now);
    assert!(node.pods.is_empty() && node.kernel.pods.is_empty());
}

#[test]
fn a_tunnels_cgroup_is_known_before_it_gets_its_first_pod() {
    let mut rig = Rig::new();
    let mut up = |link, cgroup| {
        let instance = format!("tunnel-{link}");
        rig.send(Input::TunnelUp {
            link,
            instance,
            cgroup,
        });
        rig.node.config.tunnel_cgroups
    };
    assert_eq!(up(1, 77), [77, 0]);
    assert_eq!(
        up(2, 0),
        [77, 0],
        "one that cannot be found out changes nothing"
    );
    assert_eq!(up(3, 78), [78, 77], "the one before goes on");
    assert_eq!(up(4, 78), [78, 77]);
    assert_eq!(up(5, 79), [79, 78], "and no other");
    let config = rig.node.config;
    assert!([79, 78].iter().all(|id| config.is_tunnel(*id)));
    assert!(![77, 0].iter().any(|id| config.is_tunnel(*id)));
}

#[test]
fn settings_that_were_lost_bring_no_verdict_of_an_earlier_agent_back() {
    let rig = Rig::with(Leftover {
        above_all: 1_000_000,
        ..Leftover::default()
    });
    assert_eq!(rig.node.config.generation, 1_000_001);
    let next = Rig::with(Leftover {
        existing: crate::bpf::Existing {
            config: rig.node.config,
            ..Default::default()
        },
        above_all: 2_000_000,
        ..Leftover::default()
    });
    assert_eq!(next.node.config.generation, 1_000_002);
}
