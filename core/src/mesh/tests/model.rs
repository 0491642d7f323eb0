//! Any sequence of updates, against the same objects without an index.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const PODS: [&str; 4] = ["a", "b", "c", "d"];
const NAMESPACES: [&str; 2] = ["shop", "bank"];
const POLICIES: [&str; 3] = ["p", "q", "r"];
const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "fd00::1"];
const HOSTS: [&str; 2] = ["web.example", "api.example"];

#[derive(Clone, Debug)]
enum Op {
    Workload(Box<Workload>),
    NoWorkload(Uid),
    Service(Service),
    NoService(ServiceKey),
    Policy(Policy),
    NoPolicy(PolicyKey),
}

fn workload() -> impl Strategy<Value = Workload> {
    let of_shop = |name: &&str| key(name);
    let place = (
        select(&PODS[..]),
        select(&NAMESPACES[..]),
        subsequence(&ADDRESSES[..], 0..=2),
    );
    let links = (
        subsequence(&POLICIES[..], 0..=1),
        subsequence(&HOSTS[..], 0..=2),
    );
    let flags = (
        any::<bool>(),
        prop::bool::weighted(0.2),
        select(&["n1", "n2"][..]),
    );
    (place, links, flags).prop_map(
        move |(place, links, (healthy, host_network, node))| Workload {
            addresses: place.2.iter().map(|a| ip(a)).collect(),
            policies: links.0.iter().map(of_shop).collect(),
            services: links
                .1
                .iter()
                .map(|h| (ServiceKey::new("shop", h), Vec::new()))
                .collect(),
            health: if healthy {
                Health::Healthy
            } else {
                Health::Unhealthy
            },
            host_network,
            node: node.into(),
            ..Workload::new(place.0, place.1, place.0)
        },
    )
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let scope = select(
        &[
            PolicyScope::Mesh,
            PolicyScope::Namespace,
            PolicyScope::Selector,
        ][..],
    );
    let action = select(&[Action::Allow, Action::Deny][..]);
    let audit = proptest::option::weighted(0.2, Just(Audit::DryRun));
    let rules = select(&[0usize, 1][..]).prop_map(|n| vec![Rule::default(); n]);
    (select(&POLICIES[..]), scope, action, audit, rules).prop_map(
        |(name, scope, action, audit, rules)| Policy {
            audit,
            ..policy(key(name), scope, action, rules)
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let service =
        (select(&HOSTS[..]), subsequence(&ADDRESSES[..], 0..=2)).prop_map(|(host, vips)| {
            let addresses = vips.iter().map(|a| NetworkAddress::local(ip(a))).collect();
            Service {
                addresses,
                ..Service::new("shop", host, host)
            }
        });
    prop_oneof![
        6 => workload().prop_map(|w| Op::Workload(Box::new(w))),
        2 => select(&PODS[..]).prop_map(|name| Op::NoWorkload(name.into())),
        2 => service.prop_map(Op::Service),
        1 => select(&HOSTS[..]).prop_map(|h| Op::NoService(ServiceKey::new("shop", h))),
        4 => a_policy().prop_map(Op::Policy),
        1 => select(&POLICIES[..]).prop_map(|name| Op::NoPolicy(key(name))),
    ]
}

#[derive(Default)]
struct Model {
    workloads: BTreeMap<Uid, Workload>,
    services: BTreeMap<ServiceKey, Service>,
    policies: BTreeMap<PolicyKey, Policy>,
}

impl Model {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Workload(w) => drop(self.workloads.insert(w.uid.clone(), *w)),
            Op::NoWorkload(uid) => drop(self.workloads.remove(&uid)),
            Op::Service(s) => drop(self.services.insert(s.key(), s)),
            Op::NoService(key) => drop(self.services.remove(&key)),
            Op::Policy(p) => drop(self.policies.insert(p.key.clone(), p)),
            Op::NoPolicy(key) => drop(self.policies.remove(&key)),
        }
    }

    fn covers(&self, p: &Policy, w: &Workload) -> bool {
        w.policies.contains(&p.key)
            || match p.scope {
                PolicyScope::Mesh => true,
                PolicyScope::Namespace => p.key.namespace == w.namespace,
                PolicyScope::Selector => false,
            }
    }

    fn check(&self, mesh: &Mesh) {
        assert_eq!(mesh.workloads().len(), self.workloads.len());
        assert_eq!(mesh.services().len(), self.services.len());
        assert_eq!(mesh.policies().len(), self.policies.len());
        for address in ADDRESSES.map(ip) {
            self.check_address(mesh, address);
        }
        for host in HOSTS {
            let service = ServiceKey::new("shop", host);
            let backing = self
                .workloads
                .values()
                .filter(|w| w.services.contains_key(&service));
            assert!(mesh.endpoints(&service).map(|w| &**w).eq(backing));
        }
        for node in ["n1", "n2"] {
            let there = self.workloads.values().filter(|w| *w.node == *node);
            assert!(mesh.workloads_on(node).map(|w| &**w).eq(there));
        }
        for w in self.workloads.values() {
            self.check_covering(mesh, w);
        }
    }

    /// Someone who claims the address holds it, a healthy one if there is any.
    fn check_address(&self, mesh: &Mesh, address: IpAddr) {
        let claims = |w: &&Workload| !w.host_network && w.addresses.contains(&address);
        let healthy = |w: &Workload| w.health == Health::Healthy;
        let claimed = self.workloads.values().any(|w| claims(&w));
        let any_healthy = self.workloads.values().filter(claims).any(healthy);
        let holder = mesh.workload_by_ip(address);
        assert_eq!(holder.is_some(), claimed);
        if let Some(holder) = holder {
            assert_eq!(Some(&**holder), self.workloads.get(&holder.uid));
            assert!(claims(&&**holder) && healthy(holder) == any_healthy);
        }
        let serves = |s: &Service| s.addresses.iter().any(|a| a.ip == address);
        let service = mesh.service_by_ip(address);
        assert_eq!(service.is_some(), self.services.values().any(serves));
        assert!(service.is_none_or(|s| serves(s)));
    }

    fn check_covering(&self, mesh: &Mesh, w: &Workload) {
        let missing = w
            .policies
            .iter()
            .find(|key| !self.policies.contains_key(key));
        let covering = mesh.policies_for(w);
        assert_eq!(covering.as_ref().err(), missing);
        if let Ok(covering) = covering {
            let mut found: Vec<_> = covering.map(|p| p.key.clone()).collect();
            found.sort();
            let expected = self.policies.values().filter(|p| self.covers(p, w));
            assert!(
                found.iter().eq(expected.map(|p| &p.key)),
                "each once: {found:?}"
            );
        }
    }
}

fn apply(mesh: &mut Mesh, op: Op) -> Change {
    match op {
        Op::Workload(w) => mesh.upsert_workload(*w),
        Op::NoWorkload(uid) => mesh.remove_workload(&uid),
        Op::Service(s) => mesh.upsert_service(s),
        Op::NoService(key) => mesh.remove_service(&key),
        Op::Policy(p) => mesh.upsert_policy(p),
        Op::NoPolicy(key) => mesh.remove_policy(&key),
    }
}

proptest! {
    #[test]
    fn indexes_agree_with_the_objects(ops in prop::collection::vec(op(), 1..30)) {
        let (mut mesh, mut model) = (Mesh::default(), Model::default());
        for op in ops {
            apply(&mut mesh, op.clone());
            model.apply(op);
            model.check(&mesh);
        }
    }

    #[test]
    fn a_decision_or_an_address_that_changes_is_in_the_change(ops in prop::collection::vec(op(), 1..30)) {
        let mut mesh = Mesh::default();
        for op in ops {
            let before = mesh.clone();
            let change = apply(&mut mesh, op);
            for old in before.workloads() {
                let conn = plaintext_to(old);
                let now = mesh.workload(&old.uid).map(|new| mesh.decide(&conn, new));
                prop_assert!(Some(before.decide(&conn, old)) == now || change.affects(None, old));
            }
            for address in ADDRESSES.map(ip) {
                let same = before.target(address) == mesh.target(address);
                prop_assert!(same || change.addresses.contains(&NetworkAddress::local(address)));
            }
            for host in HOSTS {
                let service = ServiceKey::new("shop", host);
                let same = before.endpoints(&service).eq(mesh.endpoints(&service));
                prop_assert!(same || change.services.contains(&service));
            }
        }
    }

    #[test]
    fn nothing_is_left_when_all_is_removed(ops in prop::collection::vec(op(), 1..30)) {
        let mut mesh = Mesh::default();
        for op in ops {
            apply(&mut mesh, op);
        }
        for name in PODS {
            mesh.remove_workload(&name.into());
        }
        for host in HOSTS {
            mesh.remove_service(&ServiceKey::new("shop", host));
        }
        for name in POLICIES {
            mesh.remove_policy(&key(name));
        }
        prop_assert!(mesh.is_clean());
    }
}
