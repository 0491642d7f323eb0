//! Modes and scopes.

use super::*;

/// An endpoint at `node` in `zone` of `region`.
fn at(name: &str, node: &str, zone: &str, region: &str) -> Workload {
    let locality = Locality {
        region: region.into(),
        zone: zone.into(),
        subzone: "".into(),
    };
    let address = format!("10.0.0.{}", name.as_bytes()[0]);
    Workload {
        node: node.into(),
        locality,
        cluster: "c1".into(),
        ..endpoint(name, &address)
    }
}

fn near_and_far() -> [Workload; 4] {
    [
        at("a", "n1", "z1", "r1"),
        at("b", "n2", "z1", "r1"),
        at("c", "n3", "z2", "r1"),
        at("d", "n4", "z3", "r2"),
    ]
}

fn choose(mode: BalanceMode, scopes: &[Scope], from: &Workload, mesh: &Mesh) -> String {
    let balancing = LoadBalancing {
        mode,
        preference: scopes.to_vec(),
        ..LoadBalancing::default()
    };
    uids(candidates(&service(balancing), mesh, &request(from)))
}

#[test]
fn failover_takes_the_best_tier_there_is() {
    let mesh = mesh(near_and_far());
    let prefer = [Scope::Region, Scope::Zone, Scope::Node];
    for (from, expected) in [
        (at("x", "n1", "z1", "r1"), "a"),
        (at("x", "n9", "z1", "r1"), "a b"),
        (at("x", "n9", "z9", "r1"), "a b c"),
        (at("x", "n9", "z9", "r9"), "a b c d"),
        (at("x", "n4", "z9", "r9"), "a b c d"), // a node without its region is a gap: it does not count
        (at("x", "", "", ""), "a b c d"),
    ] {
        assert_eq!(
            choose(BalanceMode::Failover, &prefer, &from, &mesh),
            expected,
            "{from:?}"
        );
    }
}

#[test]
fn failover_passes_over_tiers_where_nobody_is_healthy() {
    let mut mesh = mesh(near_and_far());
    let from = at("x", "n1", "z1", "r1");
    let prefer = [Scope::Region, Scope::Zone, Scope::Node];
    let mut choose = |fails: Workload| {
        mesh.upsert_workload(Workload {
            health: Health::Unhealthy,
            ..fails
        });
        choose(BalanceMode::Failover, &prefer, &from, &mesh)
    };
    let [a, b, c, d] = near_and_far();
    assert_eq!(choose(a), "b");
    assert_eq!(choose(b), "c");
    assert_eq!(choose(c), "d");
    assert!(choose(d).contains("not_ready: 4"));
}

#[test]
fn strict_insists_on_every_scope() {
    let mesh = mesh(near_and_far());
    let here = at("x", "n1", "z1", "r1");
    let strict =
        |scopes: &[Scope], from: &Workload| choose(BalanceMode::Strict, scopes, from, &mesh);
    assert_eq!(strict(&[Scope::Node], &here), "a");
    assert_eq!(strict(&[Scope::Zone], &here), "a b");
    assert_eq!(strict(&[Scope::Region, Scope::Zone], &here), "a b");
    assert_eq!(strict(&[], &here), "a b c d");
    assert!(strict(&[Scope::Node], &at("x", "n9", "z1", "r1")).contains("out_of_scope: 4"));
    assert!(strict(&[Scope::Node], &at("x", "", "z1", "r1")).contains("out_of_scope: 4"));
}

#[test]
fn a_label_that_nodes_lack_is_no_gap_where_a_smaller_scope_is_shared() {
    let unlabelled = ["a", "b"].map(|n| at(n, n, "", ""));
    let zoned = [
        at("a", "a", "z1", ""),
        at("b", "b", "z1", ""),
        at("c", "c", "z2", ""),
    ];
    let (zone, node) = (
        [Scope::Region, Scope::Zone],
        [Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node],
    );
    let taken = |scopes: &[Scope], from: &Workload, mesh: &Mesh| {
        choose(BalanceMode::Failover, scopes, from, mesh)
    };
    let from = at("x", "a", "", "");
    assert_eq!(taken(&node, &from, &mesh(unlabelled.clone())), "a");
    // Who asks for the zone alone does not get the node for it.
    assert_eq!(taken(&zone, &from, &mesh(unlabelled)), "a b");
    let from = at("x", "a", "z1", "");
    assert_eq!(taken(&node, &from, &mesh(zoned.clone())), "a");
    assert_eq!(taken(&zone, &from, &mesh(zoned.clone())), "a b");
    let regional = at("x", "a", "z1", "r1");
    assert_eq!(taken(&zone, &regional, &mesh(zoned)), "a b");
}

#[test]
fn any_asks_for_no_nearness() {
    let mesh = mesh(near_and_far());
    let here = at("x", "n1", "z1", "r1");
    assert_eq!(
        choose(BalanceMode::Any, &[Scope::Node], &here, &mesh),
        "a b c d"
    );
}

#[test]
fn what_is_unknown_is_not_shared_but_the_default_network_is() {
    let (nowhere, also_nowhere) = (client(), client());
    let origin = Origin::from(&nowhere);
    for scope in [
        Scope::Region,
        Scope::Zone,
        Scope::Subzone,
        Scope::Node,
        Scope::Cluster,
    ] {
        assert!(!origin.shares(scope, &also_nowhere), "{scope:?}");
    }
    assert!(origin.shares(Scope::Network, &also_nowhere));
    let west = Workload {
        network: "west".into(),
        cluster: "c1".into(),
        ..client()
    };
    assert!(!origin.shares(Scope::Network, &west));
    assert!(Origin::from(&west).shares(Scope::Cluster, &at("x", "n1", "z1", "r1")));
    let subzone = Locality {
        subzone: "rack1".into(),
        ..Locality::default()
    };
    let racked = Workload {
        locality: subzone,
        ..client()
    };
    assert!(Origin::from(&racked).shares(Scope::Subzone, &racked.clone()));
}
