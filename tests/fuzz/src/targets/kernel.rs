//! What the kernel tells the agent, and what a CNI plugin does.

use std::net::IpAddr;

use warren_agent::bpf::decode;
use warren_agent::cni::{Op, Request};
use warren_agent::sockdiag::{Parsed, parse};

pub(super) fn event(data: &[u8]) {
    let Some(event) = decode(data) else {
        assert!(
            data.len() < size_of::<warren_abi::Event>(),
            "a whole event was dropped"
        );
        return;
    };
    let ends = format!("{event:?}");
    assert!(!ends.is_empty());
}

pub(super) fn sock_diag(data: &[u8]) {
    let mut messages = 0;
    for part in parse(data) {
        messages += 1;
        // A message has a header of 16 bytes: more of them than fit means that one was read twice.
        assert!(messages <= data.len() / 16 + 1, "more messages than bytes");
        if let Ok(Parsed::Socket(socket)) = part {
            for ip in [socket.local.ip(), socket.remote.ip()] {
                assert!(
                    !matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()),
                    "not canonical: {ip}"
                );
            }
        }
    }
}

pub(super) fn cni_request(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(data) else {
        return;
    };
    let _ = request.labelled();
    if request.problem().is_none() {
        assert!(!request.namespace.is_empty() && !request.name.is_empty());
        assert!(!request.name.contains('/') && !request.namespace.contains('/'));
        assert!(request.op != Op::Add || request.netns.is_absolute());
    }
}
