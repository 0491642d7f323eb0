//! The controller says nothing: what starts, and how.

use super::*;
use crate::node::REWRITE;
use crate::node::presume::SILENCE;
use warren_core::workload::TunnelProtocol;

/// What was heard before the node was restarted: `shop` is in the mesh, or not.
fn memory(shop: bool) -> Namespaces {
    let mut memory = Namespaces::default();
    let mut heard = workload("earlier", "10.0.0.99");
    if !shop {
        heard.protocol = TunnelProtocol::None;
    }
    memory.hear(&heard);
    memory
}

fn after_restart(memory: Namespaces) -> Rig {
    Rig::with(Leftover {
        memory,
        ..Leftover::default()
    })
}

fn labels(word: &str) -> BTreeMap<String, String> {
    [("warren.dev/mesh".to_owned(), word.to_owned())].into()
}

/// ADD without controller and without tunnel, up to its answer.
fn add(rig: &mut Rig, name: &str) -> Answer {
    let mut answer = rig.add(name, "10.0.0.1");
    assert!(waits(&mut answer), "the controller may still say something");
    rig.pass(SILENCE);
    answer.try_recv().unwrap()
}

fn captured(rig: &Rig) -> bool {
    assert_eq!(rig.node.kernel.pods.len(), rig.node.kernel.lookups.len());
    !rig.node.kernel.pods.is_empty()
}

#[test]
fn a_pod_of_an_enrolled_namespace_starts_closed_with_controller_and_tunnel_away() {
    let mut rig = after_restart(memory(true));
    assert_eq!(add(&mut rig, "web"), Answer::done(true));
    assert!(captured(&rig));
    rig.sandboxes.insert("web".into(), BTreeMap::new());
    rig.pass(Duration::from_secs(1));
    assert!(captured(&rig), "its namespace is in the mesh");
    rig.tunnel_up(1);
    assert!(
        rig.told
            .iter()
            .any(|m| matches!(m, ToTunnel::AddPod { .. }))
    );
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    assert!(captured(&rig));
}

#[test]
fn a_pod_outside_the_mesh_is_closed_only_until_its_sandbox_is_listed() {
    let mut rig = after_restart(memory(false));
    assert_eq!(add(&mut rig, "web"), Answer::done(true));
    assert!(captured(&rig), "a label of its own is not known yet");
    rig.sandboxes.insert("web".into(), BTreeMap::new());
    rig.pass(Duration::from_millis(200));
    assert!(!captured(&rig));
    assert!(rig.node.kernel.listeners.is_empty());
    let asked = rig.asked.len();
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.asked.len(), asked, "asked no more");
}

#[test]
fn a_label_of_its_own_goes_before_the_namespace() {
    for (namespace, own, stays) in [
        (false, "enabled", true),
        (true, "disabled", false),
        (true, "yes", true),
        (false, "yes", false),
    ] {
        let mut rig = after_restart(memory(namespace));
        add(&mut rig, "web");
        rig.sandboxes.insert("web".into(), labels(own));
        rig.pass(Duration::from_millis(200));
        assert_eq!(captured(&rig), stays, "{own} in a namespace: {namespace}");
    }
}

#[test]
fn a_pod_of_which_nothing_is_known_is_refused() {
    let mut rig = Rig::new();
    let mut answer = rig.add("web", "10.0.0.1");
    rig.pass(SILENCE);
    assert!(waits(&mut answer));
    rig.pass(Duration::from_secs(9));
    let answer = answer.try_recv().unwrap();
    assert!(answer.error.unwrap().contains("nothing is remembered"));
    assert!(!captured(&rig));
}

#[test]
fn a_runtime_that_does_not_answer_opens_nothing() {
    let mut rig = after_restart(memory(false));
    rig.runtime = false;
    add(&mut rig, "web");
    for _ in 0..100 {
        rig.pass(Duration::from_millis(100));
    }
    assert!(captured(&rig));
    assert!((6..20).contains(&rig.asked.len()), "{}", rig.asked.len());
    let mut rig = after_restart(memory(false));
    rig.node.options.runtime = false;
    let mut answer = rig.add("web", "10.0.0.1");
    rig.pass(Duration::from_secs(11));
    assert!(!answer.try_recv().unwrap().ok, "nobody to ask: refused");
}

#[test]
fn the_controllers_word_goes_before_what_was_presumed() {
    let mut rig = after_restart(memory(true));
    add(&mut rig, "web");
    let mut out = workload("web", "10.0.0.1");
    out.protocol = TunnelProtocol::None;
    rig.workloads(vec![out]);
    assert!(!captured(&rig));
    rig.pass(Duration::from_secs(10));
    assert!(!captured(&rig));
}

#[test]
fn what_the_controller_says_in_time_needs_nothing_presumed() {
    let mut rig = after_restart(memory(false));
    rig.tunnel_up(1);
    let mut answer = rig.add("web", "10.0.0.1");
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.pass(SILENCE);
    assert!(
        waits(&mut answer) && !captured(&rig),
        "the tunnel is awaited"
    );
    rig.ready(1, "web");
    assert_eq!(answer.try_recv().unwrap(), Answer::done(true));
    assert!(rig.asked.is_empty());
}

#[test]
fn labels_that_ask_for_the_mesh_are_believed_in_the_end() {
    let mut rig = Rig::new();
    let (reply, mut answer) = oneshot::channel();
    let mut request = request(Op::Add, "web", "10.0.0.1");
    request.pod_labels = Some(labels("enabled"));
    rig.send(Input::Cni(Box::new(request), reply));
    assert!(waits(&mut answer));
    rig.pass(SILENCE);
    assert_eq!(answer.try_recv().unwrap(), Answer::done(true));
    assert!(captured(&rig) && rig.asked.is_empty());
}

#[test]
fn an_agent_that_restarts_asks_again_where_it_was_in_doubt_and_only_there() {
    let mut rig = after_restart(memory(false));
    add(&mut rig, "web");
    rig.pass(Duration::from_secs(1));
    let mut saved = rig.saved.clone().unwrap();
    assert!(saved.pods[0].in_doubt && saved.pods[0].enrolled);
    // Labelled while it ran: its sandbox does not know.
    let labelled_later = crate::pods::Record {
        workload: uid("api").to_string(),
        number: 50,
        name: "api".into(),
        cookie: 1050,
        in_doubt: false,
        ..saved.pods[0].clone()
    };
    saved.pods.push(labelled_later);
    let mut next = Rig::with(Leftover {
        saved,
        memory: memory(false),
        ..Leftover::default()
    });
    for name in ["web", "api"] {
        next.sandboxes.insert(name.into(), BTreeMap::new());
    }
    next.pass(SILENCE);
    assert_eq!(next.node.pods[&uid("web")].stage, crate::pods::Stage::Idle);
    assert_eq!(
        next.node.pods[&uid("api")].stage,
        crate::pods::Stage::Enrolled
    );
}

#[test]
fn pods_of_exempt_namespaces_start_while_the_controller_or_the_tunnel_is_away() {
    let mut rig = Rig::new();
    let mut known = workload("proxy", "10.0.0.2");
    (known.uid, known.namespace) = ("c//Pod/kube-system/proxy".into(), "kube-system".into());
    rig.workloads(vec![known]);
    let mut waiting: Vec<_> = ["dns", "proxy"]
        .map(|name| {
            let (reply, answer) = oneshot::channel();
            let mut add = request(Op::Add, name, "10.0.0.1");
            add.namespace = "kube-system".into();
            rig.send(Input::Cni(Box::new(add), reply));
            answer
        })
        .into();
    assert!(waiting.iter_mut().all(waits));
    rig.pass(SILENCE);
    assert_eq!(waiting[0].try_recv().unwrap(), Answer::done(false));
    assert!(
        waits(&mut waiting[1]),
        "it is in the mesh: the tunnel is awaited"
    );
    rig.pass(Duration::from_secs(9));
    assert_eq!(waiting[1].try_recv().unwrap(), Answer::done(false));
    assert!(!captured(&rig) && rig.asked.is_empty());
}

#[test]
fn what_is_heard_of_namespaces_is_kept() {
    let mut rig = Rig::new();
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.send(Input::Tick);
    assert_eq!(rig.memory.take(), Some(memory(true)));
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    rig.send(Input::Tick);
    assert_eq!(rig.memory, None, "no news");
}

#[test]
fn what_could_not_be_written_is_written_once_there_is_room() {
    let mut rig = after_restart(memory(false));
    rig.full = true;
    rig.saved = None;
    rig.add("web", "10.0.0.1");
    rig.workloads(vec![workload("web", "10.0.0.1")]);
    for _ in 0..3 {
        rig.pass(REWRITE);
    }
    assert!(rig.memory.is_none() && rig.saved.is_none());
    rig.full = false;
    rig.pass(REWRITE);
    let shop = rig.memory.as_ref().and_then(|m| m.get("shop"));
    assert_eq!(shop, Some(true), "what is on the disk says that it is not");
    assert_eq!(rig.saved.as_ref().map(|s| s.pods.len()), Some(1));
    rig.memory = None;
    rig.pass(REWRITE);
    assert!(rig.memory.is_none(), "it is written once");
}
