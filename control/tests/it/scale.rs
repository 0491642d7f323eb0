//! The cost of a change is that of the change: asserted by counts; times are printed for orientation only.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use warren_control::index::{Config, Counters, Index};
use warren_control::model::Event;
use warren_control::xds::Type;
use warren_control::xds::session::Session;
use warren_control::xds::store::Store;

use crate::policy_compile::{peer, policy};
use crate::support::model::{meshed, objects, pod};
use crate::xds::subscribe;

const NAMESPACES: usize = 50;
const PODS: usize = 200;

fn namespace(n: usize) -> String {
    let ns = format!("ns-{n}");
    let mut text = meshed(&ns);
    for p in 0..PODS {
        let ip = format!("10.{n}.{}.{}", p / 250, p % 250 + 1);
        text += &pod(
            &ns,
            &format!("pod-{p}"),
            &format!("app-{}", p % 20),
            &ip,
            8080,
        );
    }
    for s in 0..20 {
        let _ = write!(
            text,
            "{{apiVersion: v1, kind: Service, metadata: {{name: app-{s}, namespace: {ns}}}, spec: {{clusterIP: 10.96.{n}.{s}, selector: {{app: app-{s}}}, ports: [{{port: 80, targetPort: http}}]}}}}\n---\n"
        );
    }
    text
}

fn events(yaml: &str) -> Vec<Event> {
    objects(yaml)
        .into_iter()
        .map(|o| Event::Apply(Arc::new(o), None))
        .collect()
}

fn big() -> Index {
    let started = Instant::now();
    let all: Vec<Event> = (0..NAMESPACES)
        .flat_map(|n| events(&namespace(n)))
        .collect();
    let parsed = started.elapsed();
    let started = Instant::now();
    let mut index = Index::new(Config::default());
    let delta = index.apply(all);
    let indexed = started.elapsed();
    let started = Instant::now();
    let store = Store::default();
    store.publish(&delta);
    let encoded = started.elapsed();
    let started = Instant::now();
    let mut session = Session::default();
    for kind in [Type::Authorization, Type::Address] {
        session
            .request(subscribe(kind.url(), &[]), started)
            .expect("taken");
    }
    let pushes = session.collect(&store.read(), started).expect("known");
    let bytes: usize = pushes.iter().map(|p| p.encoded_len()).sum();
    println!(
        "{} pods: YAML {parsed:?}, index {indexed:?}, encode {encoded:?}, first sync collected in {:?}: {bytes} bytes in {} responses",
        NAMESPACES * PODS,
        started.elapsed(),
        pushes.len()
    );
    assert_eq!(index.sizes().0, NAMESPACES * PODS);
    assert!(
        pushes.iter().all(|p| p.encoded_len() < 3 << 20),
        "responses are bounded"
    );
    index
}

/// Applies events and returns the work they caused and the changes they made.
fn cost(index: &mut Index, events: Vec<Event>) -> (Counters, [usize; 3]) {
    let before = index.counters();
    let started = Instant::now();
    let delta = index.apply(events);
    println!("  {:?}", started.elapsed());
    let after = index.counters();
    let work = Counters {
        pods: after.pods - before.pods,
        services: after.services - before.services,
        policies: after.policies - before.policies,
        endpoints: after.endpoints - before.endpoints,
    };
    (
        work,
        [
            delta.workloads.len(),
            delta.services.len(),
            delta.policies.len(),
        ],
    )
}

#[test]
fn the_cost_of_a_change_is_that_of_the_change() {
    let mut index = big();
    let one = pod("ns-7", "pod-3", "app-3", "10.7.0.4", 8080)
        .replace("status: \"True\"", "status: \"False\"");
    let (work, changes) = cost(&mut index, events(&one));
    assert_eq!(
        (work.pods, work.services, work.policies, changes),
        (1, 0, 0, [1, 0, 0]),
        "one endpoint's health"
    );

    let (work, changes) = cost(&mut index, events(&one));
    assert_eq!(
        (work, changes),
        (Counters::default(), [0, 0, 0]),
        "the same again"
    );

    let service = "{apiVersion: v1, kind: Service, metadata: {name: app-3, namespace: ns-7}, spec: {clusterIP: 10.96.7.3, selector: {app: app-3}, ports: [{port: 81, targetPort: http}]}}";
    let (work, changes) = cost(&mut index, events(service));
    assert_eq!(
        (work.pods, work.services, changes),
        (10, 1, [10, 1, 0]),
        "a service's pods"
    );

    let selector = "action: DENY, selector: {matchLabels: {app: app-3}}, rules: [{}]";
    let (work, changes) = cost(&mut index, events(&policy("ns-7", "p", selector)));
    assert_eq!(
        (work.pods, work.policies, changes),
        (10, 1, [10, 0, 1]),
        "a policy's pods"
    );

    let wide = "action: DENY, rules: [{from: [{source: {namespaces: [x]}}]}]";
    let (work, changes) = cost(&mut index, events(&policy("warren-system", "p", wide)));
    assert_eq!(
        (work.pods, work.policies, changes),
        (0, 1, [0, 0, 1]),
        "a policy of the mesh"
    );

    let (work, changes) = cost(
        &mut index,
        events(&peer("ns-7", "p", "mtls: {mode: STRICT}")),
    );
    assert_eq!(
        (work.pods, changes),
        (PODS as u64, [PODS, 0, 1]),
        "a namespace's mode"
    );

    let node = "{apiVersion: v1, kind: Node, metadata: {name: other, labels: {topology.kubernetes.io/zone: z}}}";
    let (work, changes) = cost(&mut index, events(node));
    assert_eq!(
        (work, changes),
        (Counters::default(), [0, 0, 0]),
        "a node without pods"
    );

    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: ns-9}}";
    let (work, changes) = cost(&mut index, events(namespace));
    assert_eq!(
        (work.pods, changes),
        (PODS as u64, [PODS, 0, 0]),
        "a namespace leaves the mesh"
    );
}
