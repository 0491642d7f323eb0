//! What is encoded is decoded again; what is bad is refused by name; nothing panics.

use proptest::prelude::*;
use prost::Message;
use prost_types::Any;
use warren_api::codec::{
    self, ADDRESS_TYPE, AUDIT_EXTENSION, AUTHORIZATION_TYPE, Address, pack_address, pack_policy,
    unpack_address, unpack_policy,
};
use warren_api::r#gen::{security, workload as wire};
use warren_core::policy::{Match, Policy};
use warren_core::{Service, Workload};

use crate::model;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn workloads_round_trip(w in model::workload()) {
        let any = pack_address(&wire::Address::from(&w));
        prop_assert_eq!(unpack_address("x", &any), Ok(Address::Workload(w.into())));
    }

    #[test]
    fn services_round_trip(s in model::service()) {
        let any = pack_address(&wire::Address::from(&s));
        prop_assert_eq!(unpack_address("x", &any), Ok(Address::Service(s.into())));
    }

    #[test]
    fn policies_round_trip(p in model::policy()) {
        prop_assert_eq!(unpack_policy("x", &pack_policy(&p)), Ok(p));
    }

    /// Equal objects have equal bytes, so that a controller may compare versions by content.
    #[test]
    fn encoding_is_deterministic(w in model::workload()) {
        let again = w.clone();
        prop_assert_eq!(wire::Address::from(&w).encode_to_vec(), wire::Address::from(&again).encode_to_vec());
    }

    #[test]
    fn garbage_is_an_error_or_a_resource(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let any = |url: &str| Any { type_url: url.to_owned(), value: bytes.clone() };
        let _ = unpack_address("x", &any(ADDRESS_TYPE));
        let _ = unpack_policy("x", &any(AUTHORIZATION_TYPE));
    }

    /// Single bytes of good resources changed: reaches deeper than plain garbage.
    #[test]
    fn damaged_resources_do_not_panic(w in model::workload(), p in model::policy(), at: usize, to: u8) {
        let damage = |mut any: Any| {
            let index = at % any.value.len().max(1);
            if let Some(byte) = any.value.get_mut(index) {
                *byte = to;
            }
            any
        };
        let _ = unpack_address("x", &damage(pack_address(&wire::Address::from(&w))));
        let _ = unpack_policy("x", &damage(pack_policy(&p)));
    }
}

fn workload() -> wire::Workload {
    wire::Workload {
        uid: "c//Pod/shop/web".into(),
        namespace: "shop".into(),
        ..Default::default()
    }
}

#[test]
fn bad_workloads_name_resource_and_field() {
    type Break = fn(&mut wire::Workload);
    let bad_gateway = || Some(wire::GatewayAddress::default());
    let cases: [(&str, Break); 10] = [
        ("uid", |w| w.uid.clear()),
        ("addresses", |w| w.addresses = vec![vec![1, 2, 3].into()]),
        ("tunnel_protocol", |w| w.tunnel_protocol = 99),
        ("status", |w| w.status = -1),
        ("network_mode", |w| w.network_mode = 7),
        ("probe_ports", |w| w.probe_ports = vec![70_000]),
        ("authorization_policies", |w| {
            w.authorization_policies = vec!["no-slash".into()]
        }),
        ("services", |w| {
            w.services
                .insert("no-slash".into(), wire::PortList::default());
        }),
        ("services", |w| {
            let port = wire::Port {
                service_port: 65_536,
                target_port: 1,
                app_protocol: 0,
            };
            w.services
                .insert("ns/host".into(), wire::PortList { ports: vec![port] });
        }),
        ("waypoint", |w| {
            w.waypoint = Some(wire::GatewayAddress {
                hbone_mtls_port: 15008,
                destination: None,
            });
        }),
    ];
    for (field, spoil) in cases {
        let mut w = workload();
        spoil(&mut w);
        let error = Workload::try_from(&w).expect_err(field);
        assert_eq!((error.kind, error.field), ("workload", field));
        assert!(error.resource == w.uid, "{error}");
    }
    let s = wire::Service {
        hostname: "h".into(),
        waypoint: bad_gateway(),
        ..Default::default()
    };
    assert!(Service::try_from(&s).is_err());
}

#[test]
fn stock_defaults_are_filled_in() {
    let w = Workload::try_from(&workload()).expect("minimal workload");
    assert_eq!(
        (&*w.trust_domain, &*w.service_account, w.capacity),
        ("cluster.local", "default", 1)
    );
    let mut newer = workload();
    newer.workload_type = 42;
    newer.tunnel_protocol = wire::TunnelProtocol::LegacyIstioMtls.into();
    assert!(
        !Workload::try_from(&newer)
            .expect("newer kinds are taken")
            .is_enrolled()
    );
}

#[test]
fn mapped_addresses_become_ipv4() {
    let mapped: std::net::Ipv6Addr = "::ffff:10.1.2.3".parse().expect("an address");
    let mut w = workload();
    w.addresses = vec![mapped.octets().to_vec().into()];
    let w = Workload::try_from(&w).expect("mapped address");
    assert_eq!(
        w.addresses,
        ["10.1.2.3".parse::<std::net::IpAddr>().expect("an address")]
    );

    let net = |length| security::Address {
        address: mapped.octets().to_vec().into(),
        length,
    };
    let read = |length| {
        policy_with(
            0,
            security::Match {
                source_ips: vec![net(length)],
                ..Default::default()
            },
        )
    };
    let ips = |p: Policy| p.rules[0].clauses[0].matches[0].source_ips.clone();
    assert_eq!(
        ips(read(120).expect("mapped net")),
        ["10.1.2.0/24".parse().expect("a net")]
    );
    assert_eq!(
        ips(read(90).expect("wider than mapped"))[0].prefix_len(),
        90
    );
    let error = read(129).expect_err("longer than an address");
    assert_eq!(
        (error.field, error.resource.as_str()),
        ("source_ips", "shop/p")
    );
}

fn policy_with(action: i32, m: security::Match) -> Result<Policy, codec::DecodeError> {
    let clause = security::Clause { matches: vec![m] };
    let rule = security::Rule {
        clauses: vec![clause],
    };
    Policy::try_from(&security::Authorization {
        name: "p".into(),
        namespace: "shop".into(),
        action,
        rules: vec![rule],
        ..Default::default()
    })
}

#[test]
fn unknown_conditions_are_read_closed() {
    let extension = || {
        vec![security::Extension {
            name: "later.example/condition".into(),
            config: None,
        }]
    };
    let read = |action, m| {
        let policy = policy_with(action, m).expect("extension is taken");
        policy.rules[0].clauses[0].matches[0].clone()
    };
    let with_port = || security::Match {
        destination_ports: vec![80],
        extensions: extension(),
        ..Default::default()
    };
    // ALLOW: can never match. DENY: matches without regard to the condition.
    assert_eq!(read(0, with_port()), Match::default());
    assert_eq!(
        read(1, with_port()),
        Match {
            destination_ports: vec![80],
            ..Match::default()
        }
    );
    let only = security::Match {
        extensions: extension(),
        ..Default::default()
    };
    assert_ne!(
        read(1, only),
        Match::default(),
        "an empty match would never deny"
    );
}

#[test]
fn audit_kinds() {
    let base = || security::Authorization {
        name: "p".into(),
        dry_run: true,
        ..Default::default()
    };
    assert_eq!(
        Policy::try_from(&base()).expect("dry run").audit,
        Some(warren_core::policy::Audit::DryRun)
    );
    let mut unknown = base();
    let value = Any {
        type_url: String::new(),
        value: "sometimes".to_owned().encode_to_vec(),
    };
    unknown.extensions = vec![security::Extension {
        name: AUDIT_EXTENSION.into(),
        config: Some(value),
    }];
    assert_eq!(
        Policy::try_from(&unknown).expect_err("unknown kind").field,
        "extensions"
    );
    unknown.dry_run = false;
    assert_eq!(
        Policy::try_from(&unknown).expect_err("enforced").field,
        "extensions"
    );
}

#[test]
fn other_types_are_refused() {
    let any = Any {
        type_url: "type.googleapis.com/x.Y".into(),
        value: Vec::new(),
    };
    let error = unpack_address("shop/web", &any).expect_err("another type");
    assert_eq!(
        (error.resource.as_str(), error.field),
        ("shop/web", "type_url")
    );
    let empty = Any {
        type_url: ADDRESS_TYPE.into(),
        value: Vec::new(),
    };
    assert_eq!(
        unpack_address("shop/web", &empty)
            .expect_err("neither")
            .resource,
        "shop/web"
    );
}
