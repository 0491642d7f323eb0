//! Moves bytes between an application's socket and a tunnel: both directions in one task, few large system calls.
//!
//! Each direction ends by itself (half-close); an error in either ends both. What one side said before it broke off reaches the other side
//! first: TCP keeps what has arrived before a reset readable.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::error::TunnelError;
use crate::tunnel::Tunnel;

mod down;
mod up;

use down::Down;
use up::Up;

/// How long the last bytes of an application that broke off may wait for room at the peer.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Bytes moved so far, readable while the copy goes on.
#[derive(Debug, Default)]
pub struct Counters {
    /// From the local socket into the tunnel.
    pub up: AtomicU64,
    /// From the tunnel to the local socket.
    pub down: AtomicU64,
}

impl Counters {
    /// Counts bytes that went into the tunnel before the copy began.
    pub fn add_up(&self, n: usize) {
        self.up.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Both, as of now: (up, down).
    pub fn read(&self) -> (u64, u64) {
        (
            self.up.load(Ordering::Relaxed),
            self.down.load(Ordering::Relaxed),
        )
    }
}

/// Why a copy ended other than by both clean ends, and on which side.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The local socket broke; the tunnel was reset.
    #[error("the application's connection broke: {0}")]
    Local(#[from] io::Error),
    /// The tunnel broke; the caller should reset the local socket.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}

/// Copies until both directions have ended or one has failed. Dropping the future leaves both sides as they are; the
/// tunnel's own drop then breaks it off.
pub async fn copy<L, T>(local: &mut L, tunnel: &mut T, counters: &Counters) -> Result<(), CopyError>
where
    L: AsyncRead + AsyncWrite + Unpin,
    T: Tunnel,
{
    let (mut up, mut down) = (Up::default(), Down::default());
    let end = poll_fn(|cx| poll_both(local, tunnel, &mut up, &mut down, counters, cx)).await;
    match &end {
        Ok(()) => {}
        Err(CopyError::Local(_)) => {
            let last = poll_fn(|cx| up.poll_last(local, tunnel, &counters.up, cx));
            // Too late is as if it was never said.
            let _ = timeout(LAST_WORDS, last).await;
            tunnel.reset();
        }
        Err(CopyError::Tunnel(_)) => {
            poll_fn(|cx| down.poll_last(local, tunnel, &counters.down, cx)).await;
        }
    }
    end
}

fn poll_both<L, T>(
    local: &mut L,
    tunnel: &mut T,
    up: &mut Up,
    down: &mut Down,
    counters: &Counters,
    cx: &mut Context<'_>,
) -> Poll<Result<(), CopyError>>
where
    L: AsyncRead + AsyncWrite + Unpin,
    T: Tunnel,
{
    let up_done = up.poll(local, tunnel, &counters.up, cx)?.is_ready();
    let down_done = down.poll(local, tunnel, &counters.down, cx)?.is_ready();
    if up_done && down_done {
        return Poll::Ready(Ok(()));
    }
    if down_done && let Poll::Ready(e) = tunnel.poll_broken(cx) {
        return Poll::Ready(Err(e.into()));
    }
    Poll::Pending
}
