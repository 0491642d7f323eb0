//! Verdicts for direct flows, and the end of those that are denied.

use std::collections::HashSet;

use warren_abi::{DirectConn, FlowKey, VERDICT_DIRECT, VERDICT_TUNNEL, VerdictKey};
use warren_core::policy::{Action, Policy, PolicyKey, PolicyScope, Rule};

use super::*;
use crate::sockdiag::Pair;

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    rig.enrolled("api", "10.0.0.2");
    rig
}

fn question(rig: &Rig, family: u16) -> VerdictKey {
    VerdictKey {
        source: rig.number("web"),
        destination: rig.number("api"),
        port: 80,
        family,
    }
}

fn ask(rig: &mut Rig, family: u16) -> u32 {
    let question = question(rig, family);
    rig.send(Input::Wanted(vec![question]));
    let verdict = rig.node.kernel.verdicts[&question];
    assert_eq!(verdict.generation, rig.node.kernel.config.generation);
    verdict.verdict
}

fn deny_all() -> Policy {
    Policy {
        key: PolicyKey {
            namespace: "shop".into(),
            name: "deny".into(),
        },
        scope: PolicyScope::Namespace,
        action: Action::Deny,
        audit: None,
        rules: vec![Rule::default()],
    }
}

#[test]
fn two_enrolled_pods_that_policy_allows_may_speak_directly() {
    let mut rig = rig();
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    assert_eq!(
        ask(&mut rig, 6),
        VERDICT_TUNNEL,
        "they have no address of that family"
    );
}

#[test]
fn what_cannot_be_decided_takes_the_tunnel() {
    let mut rig = rig();
    let nobody = VerdictKey {
        source: 77,
        ..question(&rig, 4)
    };
    rig.send(Input::Wanted(vec![nobody]));
    assert_eq!(rig.node.kernel.verdicts[&nobody].verdict, VERDICT_TUNNEL);
    let mut off = workload("api", "10.0.0.2");
    off.direct_flows_off = true;
    rig.workloads(vec![off]);
    assert_eq!(ask(&mut rig, 4), VERDICT_TUNNEL);
}

fn generation(rig: &Rig) -> u64 {
    rig.node.kernel.config.generation
}

fn policy(policy: Policy) -> Update {
    Update {
        policies: vec![Arc::new(policy)],
        ..Update::default()
    }
}

#[test]
fn only_the_end_of_a_direct_verdict_makes_a_new_generation() {
    let mut rig = rig();
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    let before = generation(&rig);
    let mut unready = workload("api", "10.0.0.2");
    unready.health = warren_core::workload::Health::Unhealthy;
    rig.workloads(vec![unready]);
    rig.workloads(vec![workload("elsewhere", "10.9.0.1")]);
    let mut renamed = workload("api", "10.0.0.2");
    renamed.service_account = "other".into();
    rig.workloads(vec![renamed]);
    let mut nothing = deny_all();
    nothing.rules.clear();
    rig.xds(policy(nothing));
    assert_eq!(generation(&rig), before, "the verdict still holds");
    let asked = question(&rig, 4);
    assert_eq!(rig.node.kernel.verdicts[&asked].verdict, VERDICT_DIRECT);
    let cleared = rig.node.kernel.cleared;
    rig.xds(policy(deny_all()));
    assert_eq!(generation(&rig), before + 1);
    assert_eq!(rig.node.kernel.cleared, cleared + 1);
    assert_eq!(
        rig.node.kernel.verdicts[&asked].generation, before,
        "void, and not given anew"
    );
    assert_eq!(ask(&mut rig, 4), VERDICT_TUNNEL);
}

#[test]
fn a_new_generation_keeps_the_verdicts_that_hold() {
    let mut rig = rig();
    rig.enrolled("log", "10.0.0.3");
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    let to_log = VerdictKey {
        destination: rig.number("log"),
        ..question(&rig, 4)
    };
    rig.send(Input::Wanted(vec![to_log]));
    let mut off = workload("api", "10.0.0.2");
    off.direct_flows_off = true;
    rig.workloads(vec![off]);
    let kept = rig.node.kernel.verdicts[&to_log];
    assert_eq!(
        (kept.generation, kept.verdict),
        (generation(&rig), VERDICT_DIRECT)
    );
    assert_ne!(
        rig.node.kernel.verdicts[&question(&rig, 4)].generation,
        generation(&rig)
    );
}

#[test]
fn a_policy_that_cannot_be_read_closes_to_new_flows_only() {
    let mut rig = rig();
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    rig.node.kernel.direct = vec![flow(&rig)];
    let before = generation(&rig);
    let garbled = PolicyKey::new("shop", "garbled");
    let update = Update {
        unreadable: vec![(garbled.clone(), PolicyScope::Namespace)],
        ..Update::default()
    };
    rig.node.handle(Input::Xds(Box::new(update)), rig.now);
    assert!(destroyed(&mut rig.node).is_empty());
    assert_eq!(generation(&rig), before + 1);
    assert_eq!(ask(&mut rig, 4), VERDICT_TUNNEL);
    rig.xds(Update {
        readable: vec![garbled],
        ..Update::default()
    });
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
}

#[test]
fn what_took_the_tunnel_is_asked_again_after_a_change() {
    let mut rig = rig();
    rig.xds(policy(deny_all()));
    assert_eq!(ask(&mut rig, 4), VERDICT_TUNNEL);
    let before = generation(&rig);
    rig.xds(Update {
        removed_policies: vec![deny_all().key],
        ..Update::default()
    });
    assert_eq!(generation(&rig), before);
    let asked = question(&rig, 4);
    assert!(!rig.node.kernel.verdicts.contains_key(&asked));
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
}

#[test]
fn nothing_is_direct_before_all_policies_have_arrived() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    for (name, ip) in [("web", "10.0.0.1"), ("api", "10.0.0.2")] {
        rig.workloads(vec![workload(name, ip)]);
        let _answer = rig.add(name, ip);
        rig.ready(1, name);
    }
    assert_eq!(ask(&mut rig, 4), VERDICT_TUNNEL);
    let synced = Update {
        policies_synced: true,
        addresses_synced: true,
        ..Update::default()
    };
    rig.xds(synced);
    assert_eq!(
        ask(&mut rig, 4),
        VERDICT_DIRECT,
        "the answer from before counts no more"
    );
}

#[test]
fn a_pair_is_tried_first_and_takes_the_tunnel_where_that_fails() {
    let mut rig = rig();
    rig.trials = None;
    let asked = question(&rig, 4);
    rig.send(Input::Wanted(vec![asked]));
    assert!(
        !rig.node.kernel.verdicts.contains_key(&asked),
        "not before the trial has ended"
    );
    let trial = rig.pending.pop().unwrap();
    let own = VerdictKey {
        port: trial.destination.port(),
        ..asked
    };
    assert_eq!(rig.node.kernel.verdicts[&own].verdict, VERDICT_DIRECT);
    rig.send(Input::TrialEnded(
        trial,
        Err("it arrived from the node".into()),
    ));
    assert_eq!(rig.node.kernel.verdicts[&asked].verdict, VERDICT_TUNNEL);
    assert!(
        !rig.node.kernel.verdicts.contains_key(&own),
        "nothing is said about the trial's port any more"
    );
    assert_eq!(ask(&mut rig, 4), VERDICT_TUNNEL, "remembered");
    rig.pass(Duration::from_secs(31));
    assert!(
        !rig.node.kernel.verdicts.contains_key(&asked),
        "the kernel asks again"
    );
    rig.trials = Some(Ok(()));
    assert_eq!(
        ask(&mut rig, 4),
        VERDICT_DIRECT,
        "tried again after a while"
    );
}

fn miss(rig: &mut Rig) {
    rig.say(
        1,
        warren_api::node::ToAgent::MissedDirect {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
        },
    );
}

#[test]
fn a_flow_that_was_not_recognised_repeats_the_trial() {
    let mut rig = rig();
    let asked = question(&rig, 4);
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    let before = generation(&rig);
    rig.now += Duration::from_secs(3);
    rig.trials = None;
    miss(&mut rig);
    assert!(
        !rig.node.kernel.verdicts.contains_key(&asked),
        "the tunnel, until the trial has ended"
    );
    let trial = rig.pending.pop().expect("a trial");
    rig.send(Input::TrialEnded(trial, Ok(())));
    assert_eq!(rig.node.kernel.verdicts[&asked].verdict, VERDICT_DIRECT);
    assert_eq!(
        generation(&rig),
        before,
        "handshakes of other pairs go on throughout"
    );
    rig.now += Duration::from_secs(31);
    miss(&mut rig);
    let trial = rig.pending.pop().expect("a trial");
    rig.send(Input::TrialEnded(
        trial,
        Err("it arrived from the node".into()),
    ));
    assert_eq!(rig.node.kernel.verdicts[&asked].verdict, VERDICT_TUNNEL);
}

#[test]
fn a_pair_that_is_not_recognised_again_takes_the_tunnel() {
    let mut rig = rig();
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    rig.now += Duration::from_secs(3);
    miss(&mut rig);
    miss(&mut rig);
    let asked = question(&rig, 4);
    assert_eq!(rig.node.kernel.verdicts[&asked].verdict, VERDICT_TUNNEL);
    let back = VerdictKey {
        source: rig.number("api"),
        destination: rig.number("web"),
        ..asked
    };
    rig.send(Input::Wanted(vec![back]));
    assert_eq!(
        rig.node.kernel.verdicts[&back].verdict, VERDICT_DIRECT,
        "the other way is not concerned"
    );
}

#[test]
fn a_handshake_that_a_new_generation_closed_is_no_doubt_about_its_path() {
    let mut rig = rig();
    rig.enrolled("log", "10.0.0.3");
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    let mut gone = question(&rig, 4);
    gone.destination = rig.number("log");
    rig.send(Input::Wanted(vec![gone]));
    rig.xds(Update {
        removed_workloads: vec![uid("log")],
        ..Update::default()
    });
    rig.trials = None;
    miss(&mut rig);
    assert!(rig.pending.is_empty());
    let asked = question(&rig, 4);
    assert_eq!(rig.node.kernel.verdicts[&asked].verdict, VERDICT_DIRECT);
}

#[test]
fn the_tunnels_own_ports_are_never_direct() {
    let mut rig = rig();
    let hbone = VerdictKey {
        port: 15008,
        ..question(&rig, 4)
    };
    rig.send(Input::Wanted(vec![hbone]));
    assert_eq!(rig.node.kernel.verdicts[&hbone].verdict, VERDICT_TUNNEL);
}

fn flow(rig: &Rig) -> DirectConn {
    DirectConn {
        flow: FlowKey {
            client: "10.0.0.1".parse::<std::net::IpAddr>().unwrap().into(),
            server: "10.0.0.2".parse::<std::net::IpAddr>().unwrap().into(),
            client_port: 40000,
            server_port: 80,
        },
        source: rig.number("web"),
        destination: rig.number("api"),
        service: 0,
        start_ns: 1,
        generation: 1,
    }
}

fn destroyed(node: &mut Node<FakeKernel>) -> Vec<HashSet<Pair>> {
    let effects = node.take_effects().into_iter();
    effects
        .filter_map(|e| {
            if let Effect::Destroy(_, pairs) = e {
                Some((*pairs).clone())
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn denied_flows_are_ended_at_once_and_looked_for_again() {
    let mut rig = rig();
    assert_eq!(ask(&mut rig, 4), VERDICT_DIRECT);
    rig.node.kernel.direct = vec![flow(&rig)];
    let cleared = rig.node.kernel.cleared;
    rig.node
        .handle(Input::Xds(Box::new(policy(deny_all()))), rig.now);
    let pair = (
        "10.0.0.1:40000".parse().unwrap(),
        "10.0.0.2:80".parse().unwrap(),
    );
    assert_eq!(destroyed(&mut rig.node), [HashSet::from([pair])]);
    assert_eq!(rig.node.kernel.cleared, cleared + 1);
    let late = rig.now + Duration::from_millis(100);
    rig.node.handle(Input::Tick, late);
    assert_eq!(
        destroyed(&mut rig.node).len(),
        1,
        "a flow that was being made is found by the second look"
    );
}

#[test]
fn flows_that_are_still_allowed_are_left_alone() {
    let mut rig = rig();
    rig.node.kernel.direct = vec![flow(&rig)];
    let mut other = deny_all();
    other.rules.clear();
    let update = Update {
        policies: vec![Arc::new(other)],
        ..Update::default()
    };
    rig.node.handle(Input::Xds(Box::new(update)), rig.now);
    assert!(destroyed(&mut rig.node).is_empty());
    rig.node.handle(Input::DirectFlows(false), rig.now);
    assert!(
        destroyed(&mut rig.node).is_empty(),
        "not direct any more is not denied"
    );
    assert_eq!(ask(&mut rig, 4), VERDICT_TUNNEL);
}
