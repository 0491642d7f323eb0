//! Arbitrary workloads, services and policies.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use warren_core::address::{NetworkAddress, canonical};
use warren_core::policy::*;
use warren_core::service::*;
use warren_core::workload::*;

pub fn name() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9.-]{0,12}".prop_map(Arc::from)
}

fn maybe_name() -> impl Strategy<Value = Arc<str>> {
    "([a-z0-9-]{1,8})?".prop_map(Arc::from)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_map(canonical)
}

fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

fn network_address() -> impl Strategy<Value = NetworkAddress> {
    (maybe_name(), ip()).prop_map(|(network, ip)| NetworkAddress { network, ip })
}

fn service_key() -> impl Strategy<Value = ServiceKey> {
    (name(), name()).prop_map(|(namespace, hostname)| ServiceKey {
        namespace,
        hostname,
    })
}

fn policy_key() -> impl Strategy<Value = PolicyKey> {
    (name(), name()).prop_map(|(namespace, name)| PolicyKey { namespace, name })
}

fn ports() -> impl Strategy<Value = Vec<PortMapping>> {
    let one = (port(), any::<u16>()).prop_map(|(service_port, target_port)| PortMapping {
        service_port,
        target_port,
    });
    vec(one, 0..4)
}

fn gateway() -> impl Strategy<Value = GatewayAddress> {
    let destination = prop_oneof![
        service_key().prop_map(GatewayDestination::Service),
        network_address().prop_map(GatewayDestination::Address),
    ];
    (destination, port()).prop_map(|(destination, hbone_port)| GatewayAddress {
        destination,
        hbone_port,
    })
}

pub fn workload() -> impl Strategy<Value = Workload> {
    let names = [name(), name(), name(), name()];
    let texts = vec(maybe_name(), 11);
    let flags = any::<[bool; 6]>();
    let lists = (vec(ip(), 0..3), vec(policy_key(), 0..3), vec(port(), 0..3));
    let kind = prop_oneof![
        Just(WorkloadKind::Deployment),
        Just(WorkloadKind::CronJob),
        Just(WorkloadKind::Pod),
        Just(WorkloadKind::Job),
    ];
    let rest = (
        any::<u32>(),
        kind,
        option::of(gateway()),
        option::of(gateway()),
    );
    let services = btree_map(service_key(), ports(), 0..3);
    (names, texts, flags, lists, rest, services).prop_map(
        |(names, texts, flags, lists, rest, services)| {
            let [uid, name, trust_domain, service_account] = names;
            let text = |i: usize| texts[i].clone();
            Workload {
                uid: Uid(uid),
                name,
                namespace: text(0),
                addresses: lists.0,
                hostname: text(1),
                network: text(2),
                protocol: if flags[0] {
                    TunnelProtocol::Hbone
                } else {
                    TunnelProtocol::None
                },
                trust_domain,
                service_account,
                node: text(3),
                cluster: text(4),
                canonical_name: text(5),
                canonical_revision: text(6),
                workload_name: text(7),
                kind: rest.1,
                waypoint: rest.2,
                network_gateway: rest.3,
                native_tunnel: flags[1],
                policies: lists.1,
                health: if flags[2] {
                    Health::Healthy
                } else {
                    Health::Unhealthy
                },
                locality: Locality {
                    region: text(8),
                    zone: text(9),
                    subzone: text(10),
                },
                host_network: flags[3],
                capacity: rest.0,
                services,
                direct_flows_off: flags[4],
                probe_ports: lists.2,
                mesh_by_pod: flags[5],
            }
        },
    )
}

pub fn service() -> impl Strategy<Value = Service> {
    let scope = prop_oneof![
        Just(Scope::Region),
        Just(Scope::Zone),
        Just(Scope::Subzone),
        Just(Scope::Node),
        Just(Scope::Cluster),
        Just(Scope::Network),
    ];
    let mode = prop_oneof![
        Just(BalanceMode::Any),
        Just(BalanceMode::Strict),
        Just(BalanceMode::Failover),
        Just(BalanceMode::Passthrough),
    ];
    let affinity = option::of((1..=u32::MAX).prop_map(|s| Duration::from_secs(s.into())));
    let balancing = (vec(scope, 0..4), mode, any::<bool>(), affinity).prop_map(
        |(preference, mode, allow_unhealthy, client_ip_affinity)| LoadBalancing {
            preference,
            mode,
            allow_unhealthy,
            client_ip_affinity,
        },
    );
    let names = (maybe_name(), name(), name());
    let lists = (vec(network_address(), 0..3), ports(), vec(name(), 0..2));
    (names, lists, option::of(gateway()), balancing).prop_map(
        |(names, lists, waypoint, load_balancing)| Service {
            name: names.0,
            namespace: names.1,
            hostname: names.2,
            addresses: lists.0,
            ports: lists.1,
            subject_alt_names: lists.2,
            waypoint,
            load_balancing,
        },
    )
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        maybe_name().prop_map(StringMatch::Exact),
        maybe_name().prop_map(StringMatch::Prefix),
        maybe_name().prop_map(StringMatch::Suffix),
        Just(StringMatch::Presence),
    ]
}

fn net() -> impl Strategy<Value = IpNet> {
    (ip(), any::<u8>()).prop_map(|(ip, n)| {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new(ip, n % (longest + 1))
            .expect("a prefix of this family")
            .trunc()
    })
}

fn matches() -> impl Strategy<Value = Match> {
    let strings = [(); 4].map(|()| vec(string_match(), 0..3));
    let account = (maybe_name(), maybe_name())
        .prop_map(|(namespace, service_account)| ServiceAccountMatch {
            namespace,
            service_account,
        })
        .boxed();
    let accounts = [vec(account.clone(), 0..2), vec(account, 0..2)];
    let nets = [(); 4].map(|()| vec(net(), 0..3));
    let ports = [vec(port(), 0..3), vec(port(), 0..3)];
    (strings, accounts, nets, ports).prop_map(|(strings, accounts, nets, ports)| {
        let [namespaces, not_namespaces, principals, not_principals] = strings;
        let [service_accounts, not_service_accounts] = accounts;
        let [
            source_ips,
            not_source_ips,
            destination_ips,
            not_destination_ips,
        ] = nets;
        let [destination_ports, not_destination_ports] = ports;
        Match {
            namespaces,
            not_namespaces,
            principals,
            not_principals,
            service_accounts,
            not_service_accounts,
            source_ips,
            not_source_ips,
            destination_ips,
            not_destination_ips,
            destination_ports,
            not_destination_ports,
        }
    })
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let clause = vec(matches(), 0..3).prop_map(|matches| Clause { matches });
    let rule = vec(clause, 0..3).prop_map(|clauses| Rule { clauses });
    let scope = prop_oneof![
        Just(PolicyScope::Mesh),
        Just(PolicyScope::Namespace),
        Just(PolicyScope::Selector)
    ];
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    let audit = option::of(prop_oneof![Just(Audit::DryRun), Just(Audit::Audit)]);
    (policy_key(), scope, action, audit, vec(rule, 0..3)).prop_map(
        |(key, scope, action, audit, rules)| Policy {
            key,
            scope,
            action,
            audit,
            rules,
        },
    )
}
