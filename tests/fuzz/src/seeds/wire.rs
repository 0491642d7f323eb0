//! Workloads, services and policies with every field set, and with none.

use std::time::Duration;

use prost::Message;
use warren_api::r#gen::security;
use warren_api::r#gen::workload as wire;
use warren_core::address::NetworkAddress;
use warren_core::policy::{
    Action, Audit, Clause, Match, Policy, PolicyKey, PolicyScope, Rule, ServiceAccountMatch,
    StringMatch,
};
use warren_core::service::{BalanceMode, LoadBalancing, PortMapping, Scope, ServiceKey};
use warren_core::workload::{GatewayAddress, GatewayDestination, Health, Locality, TunnelProtocol};
use warren_core::{Service, Workload};

pub(super) fn addresses() -> Vec<Vec<u8>> {
    let workloads = [
        Workload::new("Kubernetes//Pod/shop/web", "shop", "web"),
        full_workload(),
    ];
    let services = [
        Service::new("shop", "web", "web.shop.svc.cluster.local"),
        full_service(),
    ];
    let mut seeds: Vec<Vec<u8>> = workloads
        .iter()
        .map(|w| wire::Address::from(w).encode_to_vec())
        .collect();
    seeds.extend(
        services
            .iter()
            .map(|s| wire::Address::from(s).encode_to_vec()),
    );
    seeds
}

fn full_workload() -> Workload {
    let mut w = Workload::new("Kubernetes//Pod/shop/cart-0", "shop", "cart-0");
    w.addresses = ["10.0.1.2", "fd00::2"]
        .iter()
        .filter_map(|ip| ip.parse().ok())
        .collect();
    w.hostname = "cart.example".into();
    w.network = "east".into();
    w.protocol = TunnelProtocol::Hbone;
    w.service_account = "cart".into();
    w.node = "a".into();
    w.cluster = "Kubernetes".into();
    w.waypoint = Some(service_gateway());
    w.network_gateway = address().map(|address| GatewayAddress {
        destination: GatewayDestination::Address(address),
        hbone_port: 15_008,
    });
    w.native_tunnel = true;
    w.policies = vec![PolicyKey::new("shop", "deny-all")];
    w.health = Health::Unhealthy;
    w.locality = Locality {
        region: "r".into(),
        zone: "z".into(),
        subzone: "s".into(),
    };
    w.capacity = 7;
    w.direct_flows_off = true;
    w.mesh_by_pod = true;
    w.probe_ports = vec![8080, 9090];
    let ports = vec![PortMapping {
        service_port: 80,
        target_port: 8080,
    }];
    w.services.insert(
        ServiceKey::new("shop", "cart.shop.svc.cluster.local"),
        ports,
    );
    w
}

fn full_service() -> Service {
    let mut s = Service::new("shop", "cart", "cart.shop.svc.cluster.local");
    s.addresses = address().into_iter().collect();
    s.ports = vec![
        PortMapping {
            service_port: 443,
            target_port: 0,
        },
        PortMapping {
            service_port: 80,
            target_port: 80,
        },
    ];
    s.subject_alt_names = vec!["spiffe://cluster.local/ns/shop/sa/cart".into()];
    s.waypoint = Some(service_gateway());
    s.load_balancing = LoadBalancing {
        preference: vec![Scope::Node, Scope::Zone, Scope::Region],
        mode: BalanceMode::Failover,
        allow_unhealthy: true,
        client_ip_affinity: Some(Duration::from_secs(10_800)),
    };
    s
}

fn service_gateway() -> GatewayAddress {
    let key = ServiceKey::new("shop", "waypoint.shop.svc.cluster.local");
    GatewayAddress {
        destination: GatewayDestination::Service(key),
        hbone_port: 15_008,
    }
}

fn address() -> Option<NetworkAddress> {
    Some(NetworkAddress {
        network: "east".into(),
        ip: "172.20.0.9".parse().ok()?,
    })
}

pub(super) fn authorizations() -> Vec<Vec<u8>> {
    let policy = |scope, action, audit, rules| Policy {
        key: PolicyKey::new("shop", "p"),
        scope,
        action,
        audit,
        rules,
    };
    let everything = Rule {
        clauses: vec![
            Clause {
                matches: vec![full_match(), Match::default()],
            },
            Clause::default(),
        ],
    };
    let policies = [
        policy(PolicyScope::Mesh, Action::Allow, None, Vec::new()),
        policy(
            PolicyScope::Namespace,
            Action::Deny,
            None,
            vec![Rule::default()],
        ),
        policy(
            PolicyScope::Selector,
            Action::Deny,
            Some(Audit::DryRun),
            vec![everything.clone()],
        ),
        policy(
            PolicyScope::Selector,
            Action::Allow,
            Some(Audit::Audit),
            vec![everything],
        ),
    ];
    policies
        .iter()
        .map(|p| security::Authorization::from(p).encode_to_vec())
        .collect()
}

fn full_match() -> Match {
    let strings = vec![
        StringMatch::Exact("shop".into()),
        StringMatch::Prefix("sh".into()),
        StringMatch::Suffix("op".into()),
        StringMatch::Presence,
    ];
    let accounts = vec![ServiceAccountMatch {
        namespace: "shop".into(),
        service_account: "web".into(),
    }];
    let nets: Vec<ipnet::IpNet> = ["10.0.0.0/8", "fd00::/8"]
        .iter()
        .filter_map(|n| n.parse().ok())
        .collect();
    Match {
        namespaces: strings.clone(),
        not_namespaces: strings.clone(),
        principals: strings.clone(),
        not_principals: strings,
        service_accounts: accounts.clone(),
        not_service_accounts: accounts,
        source_ips: nets.clone(),
        not_source_ips: nets.clone(),
        destination_ips: nets.clone(),
        not_destination_ips: nets,
        destination_ports: vec![80, 443],
        not_destination_ports: vec![22],
    }
}
