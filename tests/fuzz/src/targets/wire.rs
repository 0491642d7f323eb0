//! Resources from the controller. What was accepted must survive being encoded and decoded again.

use prost_types::Any;
use warren_api::codec::{
    ADDRESS_TYPE, AUTHORIZATION_TYPE, Address, pack_address, pack_policy, unpack_address,
    unpack_policy,
};
use warren_api::r#gen::workload as wire;
use warren_core::Mesh;

pub(super) fn address(data: &[u8]) {
    let any = Any {
        type_url: ADDRESS_TYPE.into(),
        value: data.to_vec(),
    };
    let Ok(address) = unpack_address("fuzz", &any) else {
        return;
    };
    let encoded = match &address {
        Address::Workload(w) => wire::Address::from(w.as_ref()),
        Address::Service(s) => wire::Address::from(s.as_ref()),
    };
    let again = unpack_address("fuzz", &pack_address(&encoded));
    assert_eq!(again.as_ref(), Ok(&address), "encoding changed it");
    let mut mesh = Mesh::default();
    match address {
        Address::Workload(w) => {
            let uid = w.uid.clone();
            mesh.upsert_workload(w);
            mesh.remove_workload(&uid);
            assert_eq!(mesh.workloads().len(), 0);
        }
        Address::Service(s) => {
            let key = s.key();
            mesh.upsert_service(s);
            mesh.remove_service(&key);
        }
    }
}

pub(super) fn authorization(data: &[u8]) {
    let any = Any {
        type_url: AUTHORIZATION_TYPE.into(),
        value: data.to_vec(),
    };
    let Ok(policy) = unpack_policy("fuzz", &any) else {
        return;
    };
    let again = unpack_policy("fuzz", &pack_policy(&policy));
    assert_eq!(again.as_ref(), Ok(&policy), "encoding changed it");
    evaluate(&policy);
}

/// Whatever the policy says, evaluating it must end.
fn evaluate(policy: &warren_core::policy::Policy) {
    use warren_core::policy::{Connection, evaluate};
    for source in ["10.0.0.1:4000", "[fd00::1]:4000"] {
        let Ok(source) = source.parse() else { continue };
        let connection = Connection {
            identity: Some(warren_core::Identity::new("", "shop", "web")),
            source,
            destination: source,
        };
        evaluate(&connection, std::iter::once(policy));
    }
}
