//! What the container runtime gives the CNI plugin.

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
