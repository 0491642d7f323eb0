//! Netlink answers (linux/netlink.h, linux/inet_diag.h), ring buffer events, DNS questions, xDS requests.

use prost::Message;
use warren_api::codec::{ADDRESS_TYPE, AUTHORIZATION_TYPE};
use warren_api::r#gen::discovery::DeltaDiscoveryRequest;

pub(super) fn answers() -> Vec<Vec<u8>> {
    let v4 = socket(2, &[10, 0, 0, 1], &[10, 0, 0, 2]);
    let v6 = socket(10, &[0xfd, 0, 0, 1], &[0xfd, 0, 0, 2]);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    let sockets = [
        netlink(20, &v4),
        netlink(20, &v6),
        netlink(20, &socket(10, &mapped, &mapped)),
    ]
    .concat();
    vec![
        sockets,
        netlink(3, &[0; 4]),
        netlink(2, &(-2i32).to_ne_bytes()),
        netlink(20, &v4[..40]),
    ]
}

fn netlink(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(0);
    let mut out = [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &[0; 10],
        body,
    ]
    .concat();
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// `struct inet_diag_msg` of an established connection.
fn socket(family: u8, local: &[u8], remote: &[u8]) -> Vec<u8> {
    let padded = |ip: &[u8]| [ip, &[0; 16][ip.len()..]].concat();
    [
        &[family, 1, 0, 0][..],
        &80u16.to_be_bytes(),
        &40_000u16.to_be_bytes(),
        &padded(local),
        &padded(remote),
        &[7; 12],
        &[0; 20],
    ]
    .concat()
}

pub(super) fn events() -> Vec<Vec<u8>> {
    let size = size_of::<warren_abi::Event>();
    (0..5u32)
        .map(|kind| [&kind.to_ne_bytes()[..], &vec![7; size - 4]].concat())
        .chain([vec![1; size - 1]])
        .collect()
}

pub(super) fn questions() -> Vec<Vec<u8>> {
    let question = |name: &str, kind: u16, additional: &[u8]| {
        let mut out = vec![
            0x12,
            0x34,
            1,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::from(!additional.is_empty()),
        ];
        for label in name.split('.') {
            out.push(u8::try_from(label.len()).unwrap_or(0));
            out.extend(label.bytes());
        }
        out.push(0);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(additional);
        out
    };
    let name = "web.shop.svc.cluster.local";
    let edns = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let mut pointer = question("x", 1, &[]);
    pointer.splice(12..15, [0xc0, 12]);
    vec![
        question(name, 1, &[]),
        question(name, 28, &edns),
        question("_http._tcp.web.shop", 33, &edns),
        pointer,
    ]
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first = |url: &str| DeltaDiscoveryRequest {
        type_url: url.into(),
        ..Default::default()
    };
    let on_demand = DeltaDiscoveryRequest {
        type_url: ADDRESS_TYPE.into(),
        resource_names_subscribe: names(&["*", "/10.0.1.2", "shop/web.shop.svc.cluster.local"]),
        resource_names_unsubscribe: names(&["*"]),
        ..Default::default()
    };
    let more = DeltaDiscoveryRequest {
        type_url: ADDRESS_TYPE.into(),
        resource_names_subscribe: names(&["Kubernetes//Pod/shop/web-0", "nowhere/10.9.9.9"]),
        response_nonce: "1".into(),
        initial_resource_versions: [("Kubernetes//Pod/shop/web-0".to_owned(), "1".to_owned())]
            .into(),
        ..Default::default()
    };
    let stream = |requests: &[DeltaDiscoveryRequest]| {
        requests
            .iter()
            .flat_map(Message::encode_length_delimited_to_vec)
            .collect::<Vec<u8>>()
    };
    vec![
        stream(&[first(AUTHORIZATION_TYPE), first(ADDRESS_TYPE)]),
        stream(&[first(AUTHORIZATION_TYPE), on_demand, more]),
        stream(&[first("type.googleapis.com/other")]),
    ]
}
