//! Health, ports, families, networks; the weighted pick.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn found(service: &Service, mesh: &Mesh) -> Result<Selection, NoEndpoint> {
    candidates(service, mesh, &request(&client()))
}

fn sick(name: &str, address: &str) -> Workload {
    Workload {
        health: Health::Unhealthy,
        ..endpoint(name, address)
    }
}

#[test]
fn only_healthy_ones_unless_told() {
    let mesh = mesh([endpoint("a", "10.0.0.1"), sick("b", "10.0.0.2")]);
    assert_eq!(uids(found(&service(LoadBalancing::default()), &mesh)), "a");
    let all = LoadBalancing {
        allow_unhealthy: true,
        ..LoadBalancing::default()
    };
    assert_eq!(uids(found(&service(all), &mesh)), "a b");
}

#[test]
fn the_workload_s_own_port_goes_before_the_service_s() {
    for (own, of_service, expected) in [
        (vec![], vec![(80, 8080)], Some(8080)),
        (vec![(80, 9090)], vec![(80, 8080)], Some(9090)),
        (vec![(443, 9443)], vec![(80, 8080)], Some(8080)),
        (vec![(80, 0)], vec![(80, 8080)], None),
        (vec![(80, 9090)], vec![(80, 0)], Some(9090)),
        (vec![], vec![(80, 0)], None),
        (vec![], vec![(443, 8443)], None),
        (vec![(80, 9090)], vec![], Some(9090)),
    ] {
        let mut workload = endpoint("a", "10.0.0.1");
        workload.services = [(web(), ports(&own))].into();
        let service = Service {
            ports: ports(&of_service),
            ..service(LoadBalancing::default())
        };
        let port = match found(&service, &mesh([workload])) {
            Ok(Selection::OneOf(found)) => Some(found[0].target_port),
            Ok(Selection::Passthrough) => panic!("not a passthrough service"),
            Err(failure) => {
                assert_eq!((failure.total, failure.without_port), (1, 1));
                None
            }
        };
        assert_eq!(port, expected, "own {own:?}, service {of_service:?}");
    }
}

#[test]
fn the_address_is_of_the_family_asked_for() {
    let dual = Workload {
        addresses: vec![ip("10.0.0.3"), ip("fd00::3")],
        ..endpoint("c", "::1")
    };
    let mesh = mesh([endpoint("a", "10.0.0.1"), endpoint("b", "fd00::2"), dual]);
    let service = service(LoadBalancing::default());
    let from = client();
    for (family, expected) in [
        (Some(Family::V4), "10.0.0.1:8080 10.0.0.3:8080"),
        (Some(Family::V6), "[fd00::2]:8080 [fd00::3]:8080"),
        (None, "10.0.0.1:8080 [fd00::2]:8080 10.0.0.3:8080"),
    ] {
        let request = Request {
            family,
            ..request(&from)
        };
        let Ok(Selection::OneOf(found)) = candidates(&service, &mesh, &request) else {
            panic!("endpoints of {family:?}")
        };
        let sockets: Vec<_> = found
            .iter()
            .map(|c| c.socket().unwrap().to_string())
            .collect();
        assert_eq!(sockets.join(" "), expected);
    }
}

#[test]
fn other_networks_are_reached_by_their_gateway_and_names_have_no_address() {
    let gateway = GatewayAddress {
        destination: GatewayDestination::Service(web()),
        hbone_port: 15008,
    };
    let away = Workload {
        network: "west".into(),
        ..endpoint("away", "10.0.0.1")
    };
    let behind = Workload {
        network_gateway: Some(gateway),
        ..away.clone()
    };
    let behind = Workload {
        uid: "behind".into(),
        ..behind
    };
    let named = Workload {
        hostname: "db.example".into(),
        addresses: Vec::new(),
        ..endpoint("named", "10.0.0.2")
    };
    let mesh = mesh([away, behind, named]);
    let Ok(Selection::OneOf(found)) = found(&service(LoadBalancing::default()), &mesh) else {
        panic!("two endpoints")
    };
    let what: Vec<_> = found
        .iter()
        .map(|c| (c.workload.uid.to_string(), c.socket()))
        .collect();
    assert_eq!(
        what,
        [("behind".to_owned(), None), ("named".to_owned(), None)]
    );
}

#[test]
fn passthrough_chooses_nobody() {
    let balancing = LoadBalancing {
        mode: BalanceMode::Passthrough,
        ..LoadBalancing::default()
    };
    assert_eq!(
        found(&service(balancing), &mesh([])),
        Ok(Selection::Passthrough)
    );
}

#[test]
fn a_failure_says_why() {
    let service = service(LoadBalancing {
        mode: BalanceMode::Strict,
        preference: vec![Scope::Node],
        ..LoadBalancing::default()
    });
    let nobody = found(&service, &mesh([])).expect_err("no endpoints");
    assert_eq!(
        nobody.to_string(),
        "service shop/web.example has no endpoints for port 80: check that its selector matches running pods"
    );
    let mesh = mesh([
        sick("a", "10.0.0.1"),
        sick("b", "10.0.0.2"),
        endpoint("c", "10.0.0.3"),
        Workload {
            network: "west".into(),
            ..endpoint("d", "10.0.0.4")
        },
    ]);
    let failure = found(&service, &mesh).expect_err("no endpoint on the node");
    assert_eq!((failure.total, failure.not_ready), (4, 2));
    assert_eq!((failure.unreachable, failure.out_of_scope), (1, 1));
    assert_eq!(
        failure.to_string(),
        "service shop/web.example has no endpoint for port 80; of 4: 2 not ready (check their readiness probes), \
         1 on a network without a gateway, 1 not local (check internalTrafficPolicy)"
    );
}

#[test]
fn the_weight_is_the_capacity() {
    let big = Workload {
        capacity: 7,
        ..endpoint("big", "10.0.0.1")
    };
    let Ok(Selection::OneOf(found)) = found(&service(LoadBalancing::default()), &mesh([big]))
    else {
        panic!("one endpoint")
    };
    assert_eq!(found[0].weight, 7);
}

#[test]
fn nothing_to_pick() {
    let mut rng = StdRng::seed_from_u64(1);
    assert_eq!(pick(&[], &mut rng), None);
    assert_eq!(
        pick(&[candidate("a", 0), candidate("b", 0)], &mut rng),
        None
    );
}

proptest! {
    #[test]
    fn picks_follow_the_weights(weights in prop::collection::vec(0u32..5, 1..6), seed: u64) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let candidates: Vec<_> =
            weights.iter().enumerate().map(|(i, w)| candidate(&i.to_string(), *w)).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut counts = vec![0u32; weights.len()];
        let rounds = 2_000;
        for _ in 0..rounds {
            let picked = pick(&candidates, &mut rng).expect("weights above 0");
            counts[picked.workload.uid.to_string().parse::<usize>().expect("an index")] += 1;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = f64::from(rounds) * f64::from(*weight) / f64::from(total);
            // Six standard deviations: once in a billion.
            let slack = 6.0 * (expected * (1.0 - f64::from(*weight) / f64::from(total))).sqrt();
            prop_assert!((f64::from(*count) - expected).abs() <= slack, "{counts:?} of {weights:?}");
        }
    }
}
