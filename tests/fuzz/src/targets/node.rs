//! The node socket's messages. What was accepted must be written as it was read.

use serde::Serialize;
use serde::de::DeserializeOwned;
use warren_api::node::{ToAgent, ToTunnel};

pub(super) fn to_agent(data: &[u8]) {
    round_trip::<ToAgent>(data);
}

pub(super) fn to_tunnel(data: &[u8]) {
    round_trip::<ToTunnel>(data);
}

fn round_trip<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(message) = serde_json::from_slice::<M>(data) else {
        return;
    };
    let text = serde_json::to_vec(&message).expect("a message that was read can be written");
    let again: M = serde_json::from_slice(&text).expect("a message that was written can be read");
    assert_eq!(again, message, "writing changed it");
}
