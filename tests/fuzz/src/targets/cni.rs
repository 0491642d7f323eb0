//! What the container runtime gives the CNI plugin, and the networks that other plugins' makers write beside ours.

use serde_json::json;
use warren_agent::plugin::chain;
use warren_cni::config::Config;
use warren_cni::env::{Command, Pod};

pub(super) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(config) = Config::parse(&text) {
        assert!(config.timeout().as_secs() <= 120, "a wait without a limit");
        // Whether there are addresses is for the caller to judge.
        let _ = config.addresses();
        let _ = config.previous();
    }
    // The same text as CNI_ARGS and CNI_COMMAND.
    let _ = Pod::from_env(|_| Some(text.to_string()));
    let _ = Command::from_env(|_| Some(text.to_string()));
}

pub(super) fn network(data: &[u8]) {
    let entry = json!({ "type": chain::NAME });
    if let Ok(Some(joined)) = chain::chained(data, &entry) {
        let again = chain::chained(&joined, &entry);
        assert_eq!(again, Ok(None), "a list that we have joined is left alone");
        let left = chain::unchained(&joined).expect("a list that we have joined can be left");
        let left = left.expect("our entry was in it");
        assert_eq!(chain::unchained(&left), Ok(None));
        if chain::unchained(data) == Ok(None) {
            assert!(chain::same(data, &left), "others' words are as they were");
        }
    }
    if let Ok(list) = chain::listed(data, &entry) {
        assert_eq!(chain::chained(&list, &entry), Ok(None));
    }
}
