//! What an update says it touched.

use super::*;

#[test]
fn an_update_that_says_nothing_new_is_empty() {
    let mut mesh = Mesh::default();
    let p = policy(key("p"), PolicyScope::Mesh, Action::Deny, Vec::new());
    assert!(!mesh.upsert_workload(pod("a", "10.0.0.1")).is_empty());
    assert!(
        !mesh
            .upsert_service(Service::new("shop", "web", "web.example"))
            .is_empty()
    );
    assert!(!mesh.upsert_policy(p.clone()).is_empty());
    assert!(mesh.upsert_workload(pod("a", "10.0.0.1")).is_empty());
    assert!(
        mesh.upsert_service(Service::new("shop", "web", "web.example"))
            .is_empty()
    );
    assert!(mesh.upsert_policy(p).is_empty());
    assert!(mesh.remove_workload(&"x".into()).is_empty());
    assert!(
        mesh.remove_service(&ServiceKey::new("shop", "x"))
            .is_empty()
    );
    assert!(mesh.remove_policy(&key("x")).is_empty());
}

#[test]
fn a_workload_s_change_names_old_and_new_services_and_addresses() {
    let mut mesh = Mesh::default();
    let (web, api) = (
        ServiceKey::new("shop", "web"),
        ServiceKey::new("shop", "api"),
    );
    let backing = |service: &ServiceKey, address: &str| Workload {
        services: [(service.clone(), Vec::new())].into(),
        ..pod("a", address)
    };
    mesh.upsert_workload(backing(&web, "10.0.0.1"));
    let change = mesh.upsert_workload(backing(&api, "10.0.0.2"));
    assert_eq!(change.workloads, ["a".into()]);
    assert_eq!(change.services, [api.clone(), web]);
    let both = ["10.0.0.1", "10.0.0.2"].map(|a| NetworkAddress::local(ip(a)));
    assert_eq!(change.addresses, both);
    assert!(change.policies.is_empty());
    let change = mesh.remove_workload(&"a".into());
    assert_eq!(
        (change.services, change.addresses),
        (vec![api], vec![both[1].clone()])
    );
}

#[test]
fn a_policy_s_change_reaches_its_old_and_new_scope() {
    let mut mesh = Mesh::default();
    let naming = Workload {
        policies: vec![key("p")],
        ..pod("a", "10.0.0.1")
    };
    mesh.upsert_workload(naming);
    let scoped = |scope| policy(key("p"), scope, Action::Deny, Vec::new());
    let a: Vec<Uid> = vec!["a".into()];
    let shop: Vec<Arc<str>> = vec!["shop".into()];
    let reach = mesh.upsert_policy(scoped(PolicyScope::Selector)).policies;
    assert_eq!(
        (reach.mesh, reach.namespaces, reach.workloads),
        (false, vec![], a.clone())
    );
    let reach = mesh.upsert_policy(scoped(PolicyScope::Namespace)).policies;
    assert_eq!(
        (reach.mesh, reach.namespaces, reach.workloads),
        (false, shop.clone(), a.clone())
    );
    let reach = mesh.upsert_policy(scoped(PolicyScope::Mesh)).policies;
    assert_eq!(
        (reach.mesh, reach.namespaces, reach.workloads),
        (true, shop, a.clone())
    );
    let reach = mesh.remove_policy(&key("p")).policies;
    assert_eq!(
        (reach.mesh, reach.namespaces, reach.workloads),
        (true, vec![], a)
    );
}

#[test]
fn changes_merge() {
    let mut mesh = Mesh::default();
    let mut sum = mesh.upsert_workload(pod("b", "10.0.0.2"));
    sum.merge(mesh.upsert_workload(pod("a", "10.0.0.1")));
    sum.merge(mesh.upsert_workload(pod("a", "10.0.0.3")));
    let scope = PolicyScope::Namespace;
    sum.merge(mesh.upsert_policy(policy(key("p"), scope, Action::Deny, Vec::new())));
    assert_eq!(sum.workloads, ["a".into(), "b".into()]);
    assert_eq!(sum.addresses.len(), 3);
    let bank = Workload {
        namespace: "bank".into(),
        ..pod("c", "10.0.0.4")
    };
    assert!(
        sum.affects(None, &pod("z", "10.0.0.5")),
        "its namespace has a new policy"
    );
    assert!(!sum.affects(None, &bank));
    assert!(sum.affects(Some(&"a".into()), &bank), "its source changed");
}
