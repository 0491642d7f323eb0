//! Tunnel to local socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::CopyError;
use crate::room::Stalled;
use crate::tunnel::Tunnel;

/// Bytes gathered before a write; the peer's window bounds the rest.
const GATHER: usize = 256 << 10;
/// Pieces handed to one writev.
const PIECES: usize = 32;

#[derive(Default)]
pub(super) struct Down {
    queue: VecDeque<Bytes>,
    queued: usize,
    ended: bool,
    done: bool,
    /// From the first write that had to wait until nothing waits.
    stalled: Option<Stalled>,
}

impl Down {
    /// Ready when the tunnel's side has ended and the local socket was told.
    pub(super) fn poll<L, T>(
        &mut self,
        local: &mut L,
        tunnel: &mut T,
        moved: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>>
    where
        L: AsyncWrite + Unpin,
        T: Tunnel,
    {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            let waiting = self.poll_gather(tunnel, cx)?.is_pending();
            if !self.queue.is_empty() {
                let write = self.poll_write(local, cx);
                if write.is_pending() && self.stalled.is_none() && tunnel.has_window() {
                    self.stalled = Some(Stalled::new());
                }
                let n = ready!(write)?;
                tunnel.release(n);
                moved.fetch_add(n as u64, Ordering::Relaxed);
                continue;
            }
            self.stalled = None;
            if self.ended {
                ready!(Pin::new(&mut *local).poll_shutdown(cx)).or_else(gone)?;
                self.done = true;
                return Poll::Ready(Ok(()));
            } else if waiting {
                return Poll::Pending;
            }
        }
    }

    /// After an error of the tunnel: what had come before is written, as far as the local socket takes it now. Always ready.
    pub(super) fn poll_last<L, T>(
        &mut self,
        local: &mut L,
        tunnel: &mut T,
        moved: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<()>
    where
        L: AsyncWrite + Unpin,
        T: Tunnel,
    {
        loop {
            let _ = self.poll_gather(tunnel, cx);
            if self.queue.is_empty() {
                return Poll::Ready(());
            }
            let Poll::Ready(Ok(n)) = self.poll_write(local, cx) else {
                return Poll::Ready(());
            };
            moved.fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    /// Takes what the tunnel has, up to [`GATHER`]. Pending: it has nothing more for now.
    fn poll_gather<T: Tunnel>(
        &mut self,
        tunnel: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>> {
        while !self.ended && self.queued < GATHER {
            match ready!(tunnel.poll_recv(cx)) {
                Some(data) => {
                    let data = data?;
                    self.queued += data.len();
                    if !data.is_empty() {
                        self.queue.push_back(data);
                    }
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<L: AsyncWrite + Unpin>(
        &mut self,
        local: &mut L,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        for (slice, piece) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(piece);
        }
        let used = self.queue.len().min(PIECES);
        let n = ready!(Pin::new(local).poll_write_vectored(cx, &slices[..used]))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.consume(n);
        Poll::Ready(Ok(n))
    }

    fn consume(&mut self, mut n: usize) {
        self.queued -= n;
        while n > 0 {
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if front.len() > n {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.queue.pop_front();
        }
    }
}

/// A socket that the application has closed already needs no half-close.
fn gone(e: io::Error) -> io::Result<()> {
    if e.kind() == io::ErrorKind::NotConnected {
        Ok(())
    } else {
        Err(e)
    }
}
