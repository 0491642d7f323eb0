//! The end of a connection that is refused. A socket closed with unread bytes answers with a reset, which overtakes the alert that
//! says why; so the peer is told that nothing more comes, and read until it ends as well.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

/// What a refused peer may have sent before it heard of it.
const BYTES: u64 = 64 << 10;
/// How long it is waited for.
const LIMIT: Duration = Duration::from_secs(1);

/// Ends our side and discards what the peer still sends, within bounds.
pub(super) async fn farewell<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) {
    let read = async {
        if io.shutdown().await.is_ok() {
            // The peer may break off: it is told all there is to tell.
            let _ = copy(&mut io.take(BYTES), &mut sink()).await;
        }
    };
    let _ = timeout(LIMIT, read).await;
}
