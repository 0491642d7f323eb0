//! The change log and the sessions on it, without a network.

use std::time::{Duration, Instant};

use warren_control::xds::Type;
use warren_control::xds::push::Push;
use warren_control::xds::session::Session;
use warren_control::xds::store::Store;

use crate::support::model::{World, meshed, pod};
use crate::xds::subscribe;

struct Fixture {
    world: World,
    store: Store,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self {
            world: World::new(""),
            store: Store::default(),
            now: Instant::now(),
        }
    }

    fn apply(&mut self, yaml: &str) {
        self.store.publish(&self.world.apply(yaml));
    }

    fn delete(&mut self, yaml: &str) {
        self.store.publish(&self.world.delete(yaml));
    }

    fn session(&self) -> Session {
        let mut session = Session::default();
        for kind in [Type::Authorization, Type::Address] {
            session
                .request(subscribe(kind.url(), &[]), self.now)
                .expect("taken");
        }
        session
    }

    fn collect(&self, session: &mut Session) -> Vec<Push> {
        session
            .collect(&self.store.read(), self.now)
            .expect("remembered")
    }
}

fn names(pushes: &[Push]) -> (Vec<&str>, Vec<&str>) {
    (
        pushes
            .iter()
            .flat_map(|p| &p.resources)
            .map(|n| &*n.name)
            .collect(),
        pushes
            .iter()
            .flat_map(|p| &p.removed)
            .map(|n| &**n)
            .collect(),
    )
}

#[test]
fn a_session_that_was_away_gets_each_resource_once_at_its_latest() {
    let mut f = Fixture::new();
    let mut session = f.session();
    f.apply(&meshed("shop"));
    assert_eq!(f.collect(&mut session).len(), 2, "one empty answer a type");
    for port in 1..=50 {
        f.apply(&pod("shop", "a", "a", "10.0.0.1", port));
    }
    f.apply(&pod("shop", "b", "b", "10.0.0.2", 80));
    f.delete(&pod("shop", "b", "b", "10.0.0.2", 80));
    let pushes = f.collect(&mut session);
    assert_eq!(
        names(&pushes),
        (
            vec!["Kubernetes//Pod/shop/a"],
            vec!["Kubernetes//Pod/shop/b"]
        )
    );
    assert!(f.collect(&mut session).is_empty());
    f.apply(&pod("shop", "b", "b", "10.0.0.2", 80));
    assert_eq!(
        names(&f.collect(&mut session)),
        (vec!["Kubernetes//Pod/shop/b"], vec![])
    );
}

#[test]
fn workloads_wait_a_moment_for_the_policies_request() {
    let mut f = Fixture::new();
    f.apply(&pod("shop", "a", "a", "10.0.0.1", 80));
    let mut session = Session::default();
    session
        .request(subscribe(Type::Address.url(), &[]), f.now)
        .expect("taken");
    assert!(f.collect(&mut session).is_empty());
    let wake = session.wake(f.now).expect("a time");
    assert!(wake <= f.now + Duration::from_millis(100));
    f.now = wake;
    assert_eq!(
        names(&f.collect(&mut session)).0,
        ["Kubernetes//Pod/shop/a"],
        "and not for ever"
    );
    assert_eq!(session.wake(f.now), None);
}

#[test]
fn removals_are_forgotten_at_some_point_and_the_client_told() {
    let mut f = Fixture::new();
    let mut session = f.session();
    f.collect(&mut session);
    // One pod that comes and goes under ever new names.
    for i in 0..1_100 {
        let batch: String = (0..100)
            .map(|j| pod("shop", &format!("p-{i}-{j}"), "a", "10.0.0.1", 80))
            .collect();
        if i == 0 {
            f.apply(&batch);
            f.delete(&batch);
        } else {
            f.churn(i);
        }
    }
    let error = session
        .collect(&f.store.read(), f.now)
        .expect_err("forgotten");
    assert_eq!(error.code(), tonic::Code::Aborted);
}

impl Fixture {
    /// A hundred workloads that were there for a moment.
    fn churn(&mut self, round: usize) {
        use warren_control::index::Delta;
        let template = (*self
            .world
            .workloads
            .values()
            .next()
            .cloned()
            .unwrap_or_else(|| {
                let mut other = World::new(&pod("x", "p", "p", "10.9.9.9", 80));
                other.workloads.pop_first().expect("one").1
            }))
        .clone();
        let uid = |j: usize| warren_core::workload::Uid::from(format!("gone-{round}-{j}").as_str());
        let there = (0..100)
            .map(|j| (uid(j), Some(std::sync::Arc::new(template.clone()))))
            .collect();
        self.store.publish(&Delta {
            workloads: there,
            ..Delta::default()
        });
        let gone = (0..100).map(|j| (uid(j), None)).collect();
        self.store.publish(&Delta {
            workloads: gone,
            ..Delta::default()
        });
    }
}

#[test]
fn equal_content_has_an_equal_version() {
    let mut versions = Vec::new();
    for _ in 0..2 {
        let mut f = Fixture::new();
        f.apply(&(meshed("shop") + &pod("shop", "a", "a", "10.0.0.1", 80)));
        let store = f.store.read();
        let entry = store
            .of(Type::Address)
            .get("Kubernetes//Pod/shop/a")
            .expect("there");
        versions.push((entry.version.to_string(), entry.body.clone()));
    }
    assert_eq!(versions[0], versions[1]);
}

#[test]
fn large_syncs_are_cut_and_the_last_part_is_marked() {
    let f = Fixture::new();
    let mut workload = (*World::new(&pod("x", "p", "p", "10.9.9.9", 80))
        .workloads
        .pop_first()
        .expect("one")
        .1)
        .clone();
    workload.hostname = "h".repeat(1000).into();
    let uid = |j: usize| warren_core::workload::Uid::from(format!("w-{j}").as_str());
    let there = (0..5_000)
        .map(|j| (uid(j), Some(std::sync::Arc::new(workload.clone()))))
        .collect();
    f.store.publish(&warren_control::index::Delta {
        workloads: there,
        ..Default::default()
    });
    let pushes = f.collect(&mut f.session());
    let addresses: Vec<_> = pushes
        .iter()
        .filter(|p| &*p.type_url == Type::Address.url())
        .collect();
    assert!(addresses.len() >= 3 && addresses.iter().all(|p| p.encoded_len() < (2 << 20) + 4096));
    let (last, others) = addresses.split_last().expect("some");
    assert!(!last.more && others.iter().all(|p| p.more));
    assert_eq!(
        addresses.iter().map(|p| p.resources.len()).sum::<usize>(),
        5_000
    );
}

#[test]
fn one_stream_may_not_ask_for_endless_names() {
    let mut f = Fixture::new();
    f.now += Duration::from_secs(1);
    let mut session = Session::default();
    let many: Vec<String> = (0..1_000_001).map(|i| i.to_string()).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = session
        .request(subscribe(Type::Address.url(), &names), f.now)
        .expect_err("too many");
    assert_eq!(error.code(), tonic::Code::ResourceExhausted);
}
