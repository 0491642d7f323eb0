//! PINGs that find a dead peer (RFC 9113 §6.7).

use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Pings every `interval`; returns once a PING stays unanswered for `limit` or the connection has ended.
pub(crate) async fn until_dead(
    mut pings: PingPong,
    interval: Duration,
    limit: Duration,
) -> &'static str {
    loop {
        sleep(interval).await;
        match timeout(limit, pings.ping(Ping::opaque())).await {
            Err(_) => return "the peer did not answer a PING in time",
            Ok(Err(_)) => return "the connection ended",
            Ok(Ok(_)) => {}
        }
    }
}
