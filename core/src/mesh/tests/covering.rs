//! Which policies cover a destination.

use super::*;

fn names(mesh: &Mesh, dest: &Workload) -> Vec<String> {
    mesh.policies_for(dest)
        .expect("all known")
        .map(|p| p.key.to_string())
        .collect()
}

fn some(namespace: &str, name: &str, scope: PolicyScope) -> Policy {
    policy(
        PolicyKey::new(namespace, name),
        scope,
        Action::Deny,
        Vec::new(),
    )
}

#[test]
fn by_mesh_by_namespace_and_by_name() {
    let mut mesh = Mesh::default();
    mesh.upsert_policy(some("root", "all", PolicyScope::Mesh));
    mesh.upsert_policy(some("shop", "ours", PolicyScope::Namespace));
    mesh.upsert_policy(some("bank", "theirs", PolicyScope::Namespace));
    mesh.upsert_policy(some("shop", "picked", PolicyScope::Selector));
    mesh.upsert_policy(some("shop", "unpicked", PolicyScope::Selector));
    let web = pod("web", "10.0.0.1");
    assert_eq!(names(&mesh, &web), ["root/all", "shop/ours"]);
    let picked = Workload {
        policies: vec![key("picked")],
        ..web
    };
    assert_eq!(
        names(&mesh, &picked),
        ["root/all", "shop/ours", "shop/picked"]
    );
    let elsewhere = Workload {
        namespace: "attic".into(),
        ..picked
    };
    assert_eq!(names(&mesh, &elsewhere), ["root/all", "shop/picked"]);
}

#[test]
fn a_policy_that_is_named_and_covers_by_scope_counts_once() {
    let mut mesh = Mesh::default();
    mesh.upsert_policy(some("root", "all", PolicyScope::Mesh));
    mesh.upsert_policy(some("shop", "ours", PolicyScope::Namespace));
    mesh.upsert_policy(some("bank", "theirs", PolicyScope::Namespace));
    let named = vec![
        PolicyKey::new("root", "all"),
        key("ours"),
        PolicyKey::new("bank", "theirs"),
    ];
    let web = Workload {
        policies: named,
        ..pod("web", "10.0.0.1")
    };
    assert_eq!(names(&mesh, &web), ["root/all", "shop/ours", "bank/theirs"]);
}

#[test]
fn an_unknown_name_closes_until_it_is_known() {
    let mut mesh = Mesh::default();
    let open = vec![Rule::default()];
    mesh.upsert_policy(policy(
        key("open"),
        PolicyScope::Namespace,
        Action::Allow,
        open,
    ));
    let web = Workload {
        policies: vec![key("late")],
        ..pod("web", "10.0.0.1")
    };
    let conn = plaintext_to(&web);
    assert_eq!(mesh.policies_for(&web).err(), Some(key("late")));
    assert_eq!(
        mesh.decide(&conn, &web).reason,
        Reason::UnknownPolicy(key("late"))
    );
    mesh.upsert_policy(policy(
        key("late"),
        PolicyScope::Selector,
        Action::Deny,
        Vec::new(),
    ));
    assert_eq!(
        mesh.decide(&conn, &web).reason,
        Reason::AllowedBy(key("open"))
    );
    mesh.remove_policy(&key("late"));
    assert_eq!(
        mesh.decide(&conn, &web).reason,
        Reason::UnknownPolicy(key("late"))
    );
}

#[test]
fn what_an_unreadable_policy_may_cover_takes_nothing_new() {
    let mut mesh = Mesh::default();
    let web = pod("web", "10.0.0.1");
    let vault = Workload {
        namespace: "bank".into(),
        ..pod("vault", "10.0.0.2")
    };
    let garbled = key("garbled");
    for (scope, web_closed, vault_closed) in [
        (PolicyScope::Namespace, true, false),
        (PolicyScope::Mesh, true, true),
        (PolicyScope::Selector, false, false),
    ] {
        let change = mesh.close(garbled.clone(), scope);
        for (dest, closed) in [(&web, web_closed), (&vault, vault_closed)] {
            let decision = mesh.decide(&plaintext_to(dest), dest);
            assert_eq!(!decision.is_allowed(), closed, "{scope:?} {}", dest.name);
            assert!(!decision.ends_connections(), "it may be no DENY after all");
            assert!(change.policies.covers(dest) || !closed, "{scope:?}");
        }
        let change = mesh.reopen(&garbled);
        assert!(change.policies.covers(&web) || !web_closed, "{scope:?}");
        assert!(mesh.decide(&plaintext_to(&web), &web).is_allowed());
        assert!(mesh.is_clean());
    }
}

#[test]
fn a_policy_that_changes_scope_leaves_the_old_one() {
    let mut mesh = Mesh::default();
    let web = pod("web", "10.0.0.1");
    for (scope, covers) in [
        (PolicyScope::Mesh, true),
        (PolicyScope::Selector, false),
        (PolicyScope::Namespace, true),
        (PolicyScope::Selector, false),
    ] {
        mesh.upsert_policy(some("shop", "p", scope));
        assert_eq!(names(&mesh, &web).len(), usize::from(covers), "{scope:?}");
        assert_eq!(mesh.policies().len(), 1);
        assert_eq!(mesh.policy(&key("p")).unwrap().scope, scope);
    }
    mesh.remove_policy(&key("p"));
    assert!(mesh.is_clean());
}

#[test]
fn a_refusal_is_decided_by_the_workload_s_own_address_and_port() {
    let mut mesh = Mesh::default();
    let port_80 = Match {
        destination_ports: vec![80],
        ..Match::default()
    };
    let rules = vec![Rule {
        clauses: vec![crate::policy::Clause {
            matches: vec![port_80],
        }],
    }];
    mesh.upsert_policy(policy(
        key("no80"),
        PolicyScope::Namespace,
        Action::Deny,
        rules,
    ));
    let web = pod("web", "10.0.0.1");
    let conn = plaintext_to(&web);
    assert_eq!(
        mesh.decide(&conn, &web).reason,
        Reason::DeniedBy(key("no80"))
    );
    let other = Connection {
        destination: (ip("10.0.0.1"), 81).into(),
        ..conn
    };
    assert_eq!(mesh.decide(&other, &web).reason, Reason::NoPolicy);
}
