//! A real API server with its etcd, a link to it that can be cut, and the controller's own binary.

use std::time::{Duration, Instant};

pub mod api;
pub mod controller;
pub mod link;
pub mod objects;
#[path = "../it/support/tokens.rs"]
#[allow(dead_code)]
pub mod tokens;

pub const SYSTEM: &str = "warren-system";

/// Asks until the answer is Some.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "not within 60 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
