//! Pods come, go, join and leave.

use super::*;

#[test]
fn a_pod_is_captured_only_after_listeners_tunnel_and_lookup() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let mut answer = rig.add("web", "10.0.0.1");
    assert!(waits(&mut answer), "the controller does not know it yet");
    let mut known = workload("web", "10.0.0.1");
    known.probe_ports = vec![8080];
    rig.workloads(vec![known]);
    assert!(
        waits(&mut answer) && rig.node.kernel.pods.is_empty(),
        "the tunnel has not answered"
    );
    assert!(
        matches!(rig.told.last(), Some(ToTunnel::AddPod { listeners, .. }) if listeners.len() == 3)
    );
    rig.ready(1, "web");
    assert_eq!(answer.try_recv().unwrap(), Answer::done(true));
    let place = |action| {
        rig.node
            .kernel
            .journal
            .iter()
            .position(|a| *a == action)
            .unwrap()
    };
    assert!(place("put_listener") < place("put_probe_port"));
    assert!(place("put_probe_port") < place("attach_lookup"));
    assert!(place("attach_lookup") < place("put_pod"));
    assert!(place("put_pod") < place("put_local"));
    assert!(rig.saved.unwrap().pods[0].enrolled);
}

#[test]
fn a_pod_that_stays_out_is_answered_and_remembered_and_may_join_later() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let mut out = workload("web", "10.0.0.1");
    out.protocol = TunnelProtocol::None;
    rig.workloads(vec![out]);
    let mut answer = rig.add("web", "10.0.0.1");
    assert_eq!(answer.try_recv().unwrap(), Answer::done(false));
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.ready(1, "web");
    assert_eq!(rig.node.kernel.pods.len(), 1);
}

#[test]
fn an_entry_is_written_again_only_when_it_changes() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let cookie = rig.enrolled("web", "10.0.0.1");
    rig.node.kernel.journal.clear();
    let mut changed = workload("web", "10.0.0.1");
    changed.health = warren_core::workload::Health::Unhealthy;
    rig.workloads(vec![changed.clone()]);
    let written = |rig: &Rig| rig.node.kernel.journal.contains(&"put_pod");
    assert!(!written(&rig), "{:?}", rig.node.kernel.journal);
    changed.direct_flows_off = true;
    rig.workloads(vec![changed.clone()]);
    assert!(written(&rig));
    assert_eq!(
        rig.node.kernel.pods[&cookie].flags,
        warren_abi::POD_NO_DIRECT
    );
    // Out and in again: everything is written anew.
    changed.protocol = TunnelProtocol::None;
    rig.workloads(vec![changed.clone()]);
    assert!(rig.node.kernel.pods.is_empty());
    changed.protocol = TunnelProtocol::Hbone;
    rig.workloads(vec![changed]);
    rig.ready(1, "web");
    assert!(rig.node.kernel.pods.contains_key(&cookie));
    assert!(!rig.node.kernel.local.is_empty());
}

#[test]
fn leaving_is_the_reverse_and_the_pod_is_remembered() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let cookie = rig.enrolled("web", "10.0.0.1");
    rig.node.kernel.journal.clear();
    let mut out = workload("web", "10.0.0.1");
    out.protocol = TunnelProtocol::None;
    rig.workloads(vec![out]);
    let kernel = &rig.node.kernel;
    assert!(!kernel.pods.contains_key(&cookie) && kernel.local.is_empty());
    assert!(!kernel.lookups.is_empty() && !kernel.listeners.is_empty() && rig.told.is_empty());
    assert!(!rig.saved.as_ref().unwrap().pods[0].enrolled);
    // What was on its way has arrived by now.
    rig.pass(Duration::from_secs(3));
    let kernel = &rig.node.kernel;
    assert!(kernel.lookups.is_empty() && kernel.listeners.is_empty());
    let place = |action| kernel.journal.iter().position(|a| *a == action).unwrap();
    assert!(place("remove_pod") < place("detach_lookup"));
    assert!(place("detach_lookup") < place("remove_listener"));
    assert!(matches!(rig.told[..], [ToTunnel::RemovePod { .. }]));
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.ready(1, "web");
    assert!(rig.node.kernel.pods.contains_key(&cookie));
}

#[test]
fn a_pod_that_comes_back_at_once_was_served_all_the_time() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let cookie = rig.enrolled("web", "10.0.0.1");
    rig.node.kernel.journal.clear();
    let mut out = workload("web", "10.0.0.1");
    out.protocol = TunnelProtocol::None;
    rig.workloads(vec![out]);
    rig.pass(Duration::from_secs(2));
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    assert!(
        rig.node.kernel.pods.contains_key(&cookie) && rig.saved.as_ref().unwrap().pods[0].enrolled
    );
    rig.pass(Duration::from_secs(5));
    assert!(
        rig.node.kernel.pods.contains_key(&cookie)
            && matches!(rig.told[..], [ToTunnel::AddPod { .. }])
    );
    assert!(!rig.node.kernel.journal.contains(&"remove_listener"));
    assert!(!rig.node.kernel.journal.contains(&"detach_lookup"));
}

#[test]
fn a_pod_that_is_deleted_is_not_waited_for() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    rig.del(request(Op::Del, "web", "10.0.0.1"));
    let kernel = &rig.node.kernel;
    assert!(kernel.lookups.is_empty() && kernel.listeners.is_empty());
    assert!(matches!(rig.told[..], [ToTunnel::RemovePod { .. }]));
}

#[test]
fn ports_are_reused_early_only_in_the_mesh_and_that_is_remembered() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let cookie = rig.enrolled("web", "10.0.0.1");
    assert_eq!(rig.node.kernel.port_reuse[&cookie], 1);
    let saved = rig.saved.clone().unwrap();
    assert_eq!(saved.pods[0].former_port_reuse, Some(2));
    let mut out = workload("web", "10.0.0.1");
    out.protocol = TunnelProtocol::None;
    rig.workloads(vec![out.clone()]);
    assert_eq!(rig.node.kernel.port_reuse[&cookie], 2);
    assert_eq!(rig.saved.unwrap().pods[0].former_port_reuse, None);

    // An agent that takes the pod over keeps what the pod had, and one that finds no word of it sets it.
    for (before, set) in [(Some(0), None), (None, Some(&1))] {
        let mut saved = saved.clone();
        saved.pods[0].former_port_reuse = before;
        let mut next = Rig::with(Leftover {
            saved,
            ..Leftover::default()
        });
        assert_eq!(next.node.kernel.port_reuse.get(&cookie), set);
        next.workloads(vec![out.clone()]);
        assert_eq!(next.node.kernel.port_reuse[&cookie], before.unwrap_or(2));
    }
}

#[test]
fn a_node_whose_sysctls_cannot_be_written_enrols_all_the_same() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.node.kernel.broken = Some("set_port_reuse");
    let cookie = rig.enrolled("web", "10.0.0.1");
    assert!(rig.node.kernel.pods.contains_key(&cookie));
    assert!(rig.node.ports_said && rig.node.kernel.port_reuse.is_empty());
}

#[test]
fn waits_are_bounded_and_say_what_is_missing() {
    let mut rig = Rig::new();
    let (reply, mut unknown) = oneshot::channel();
    let mut stranger = request(Op::Add, "web", "10.0.0.1");
    stranger.namespace = "new".into();
    rig.send(Input::Cni(Box::new(stranger), reply));
    rig.workloads(vec![workload("api", "10.0.0.2")]);
    let mut untunnelled = rig.add("api", "10.0.0.2");
    rig.pass(Duration::from_secs(9));
    assert!(waits(&mut unknown) && waits(&mut untunnelled));
    rig.pass(Duration::from_secs(2));
    let error = |mut a: oneshot::Receiver<Answer>| a.try_recv().unwrap().error.unwrap();
    assert!(error(unknown).contains("controller"));
    assert!(error(untunnelled).contains("tunnel"));
    assert!(rig.node.kernel.pods.is_empty());
}

#[test]
fn labels_that_do_not_ask_for_the_mesh_are_believed_while_the_controller_is_silent() {
    let mut rig = Rig::new();
    let (reply, mut answer) = oneshot::channel();
    let mut add = request(Op::Add, "web", "10.0.0.1");
    (add.pod_labels, add.namespace_labels) = (Some(Default::default()), Some(Default::default()));
    rig.send(Input::Cni(Box::new(add), reply));
    assert_eq!(answer.try_recv().unwrap(), Answer::done(false));
}

#[test]
fn a_late_del_of_an_earlier_pod_leaves_its_successor_alone() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    let mut late = request(Op::Del, "web", "10.0.0.1");
    late.uid = "another".into();
    rig.del(late);
    assert_eq!(rig.node.kernel.pods.len(), 1);
    rig.del(request(Op::Del, "web", "10.0.0.1"));
    assert!(rig.node.kernel.pods.is_empty() && rig.node.pods.is_empty());
    rig.del(request(Op::Del, "web", "10.0.0.1"));
}

#[test]
fn a_late_del_of_an_earlier_sandbox_leaves_the_pod_alone() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    let number = rig.number("web");
    let mut late = request(Op::Del, "web", "10.0.0.1");
    for path in [None, Some(PathBuf::from("/run/netns/before"))] {
        late.netns = path.clone().unwrap_or_default();
        rig.del(late.clone());
        assert_eq!(rig.node.kernel.pods.len(), 1);
        assert_eq!(rig.deleted.pop(), Some((number, path)));
    }
    // What was looked at is the pod's own.
    rig.send(Input::Gone(vec![number]));
    assert!(rig.node.kernel.pods.is_empty() && rig.node.pods.is_empty());
}

#[test]
fn a_pod_that_is_noticed_late_to_be_gone_takes_nothing_of_who_has_its_address() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    let gone = rig.number("web");
    rig.enrolled("next", "10.0.0.1");
    let (local, listeners) = (
        rig.node.kernel.local.clone(),
        rig.node.kernel.listeners.len(),
    );
    assert_eq!(
        local.values().copied().collect::<Vec<_>>(),
        [rig.number("next")]
    );
    rig.send(Input::Gone(vec![gone]));
    assert_eq!(rig.node.kernel.local, local);
    assert_eq!(rig.node.kernel.listeners.len(), listeners);
    rig.del(request(Op::Del, "next", "10.0.0.1"));
    assert!(rig.node.kernel.local.is_empty() && rig.node.kernel.listeners.is_empty());
}

#[test]
fn a_successor_of_the_same_name_has_a_number_of_its_own() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    let first = rig.number("web");
    let mut again = request(Op::Add, "web", "10.0.0.1");
    again.netns = "/run/netns/other".into();
    let (reply, _answer) = oneshot::channel();
    rig.send(Input::Cni(Box::new(again), reply));
    rig.ready(1, "web");
    assert_ne!(rig.number("web"), first);
    assert_eq!(rig.node.kernel.pods.len(), 1);
}

#[test]
fn a_missing_namespace_is_told_and_nothing_stays() {
    let mut rig = Rig::new();
    let (reply, mut answer) = oneshot::channel();
    let mut add = request(Op::Add, "web", "10.0.0.1");
    add.netns = "/run/netns/missing".into();
    rig.send(Input::Cni(Box::new(add), reply));
    assert!(
        answer
            .try_recv()
            .unwrap()
            .error
            .unwrap()
            .contains("/run/netns/missing")
    );
    assert!(rig.node.pods.is_empty());
}

#[test]
fn a_pod_that_was_found_is_let_in_like_one_that_was_added() {
    let mut rig = Rig::new();
    let found = || Input::Found(Box::new(request(Op::Add, "web", "10.0.0.1")));
    rig.send(found());
    assert_eq!(
        rig.saved.as_ref().unwrap().pods[0].uid,
        "uid-web",
        "remembered with the controller down"
    );
    let number = rig.number("web");
    rig.tunnel_up(1);
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.ready(1, "web");
    assert_eq!(rig.node.kernel.pods.len(), 1);
    rig.send(found());
    assert_eq!(rig.number("web"), number, "found again, nothing happens");
    assert_eq!(rig.node.kernel.pods.len(), 1);
}

#[test]
fn a_scan_that_is_late_replaces_no_pod_and_one_that_is_wrong_adds_none() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    let number = rig.number("web");
    let mut earlier = request(Op::Add, "web", "10.0.0.9");
    (earlier.uid, earlier.netns) = ("earlier".into(), "/run/netns/earlier".into());
    rig.send(Input::Found(Box::new(earlier)));
    assert_eq!(rig.number("web"), number);
    let mut gone = request(Op::Add, "gone", "10.0.0.3");
    gone.netns = "/run/netns/missing".into();
    rig.send(Input::Found(Box::new(gone)));
    let mut bare = request(Op::Add, "bare", "10.0.0.4");
    bare.addresses.clear();
    rig.send(Input::Found(Box::new(bare)));
    assert_eq!(rig.node.pods.len(), 1);
}

#[test]
fn an_add_that_is_repeated_waits_for_the_same_pod() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    let mut first = rig.add("web", "10.0.0.1");
    let mut second = rig.add("web", "10.0.0.1");
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.ready(1, "web");
    assert_eq!(first.try_recv().unwrap(), Answer::done(true));
    assert_eq!(second.try_recv().unwrap(), Answer::done(true));
    assert_eq!(
        rig.add("web", "10.0.0.1").try_recv().unwrap(),
        Answer::done(true)
    );
    assert_eq!(rig.node.kernel.pods.len(), 1);
}

#[test]
fn a_kernel_that_refuses_leaves_the_pod_out_and_it_is_tried_again() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.node.kernel.broken = Some("attach_lookup");
    let mut answer = rig.add("web", "10.0.0.1");
    rig.ready(1, "web");
    assert!(
        answer
            .try_recv()
            .unwrap()
            .error
            .unwrap()
            .contains("attach_lookup")
    );
    assert!(rig.node.kernel.pods.is_empty() && rig.node.kernel.listeners.is_empty());
    rig.node.kernel.broken = None;
    rig.pass(Duration::from_secs(3));
    rig.ready(1, "web");
    assert_eq!(rig.node.kernel.pods.len(), 1);
}

#[test]
fn a_pod_that_went_without_a_del_is_forgotten() {
    let mut rig = Rig::new();
    rig.tunnel_up(1);
    rig.enrolled("web", "10.0.0.1");
    let number = rig.number("web");
    rig.send(Input::Gone(vec![number, 99]));
    assert!(rig.node.pods.is_empty() && rig.node.kernel.pods.is_empty());
    assert!(rig.saved.unwrap().pods.is_empty());
}
