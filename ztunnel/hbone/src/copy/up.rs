//! Local socket to tunnel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncRead;

use super::CopyError;
use crate::readahead::poll_read_into;
use crate::tunnel::{Tunnel, next_size};

/// First size of the buffer, in bytes. A quiet connection has none at all.
const FIRST: usize = 16 << 10;

pub(super) struct Up {
    buf: BytesMut,
    size: usize,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Moving,
    Ending,
    Done,
}

impl Default for Up {
    fn default() -> Self {
        Self {
            buf: BytesMut::new(),
            size: FIRST,
            state: State::Moving,
        }
    }
}

impl Up {
    /// Ready when the local side has ended and the tunnel was told.
    pub(super) fn poll<L, T>(
        &mut self,
        local: &mut L,
        tunnel: &mut T,
        moved: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>>
    where
        L: AsyncRead + Unpin,
        T: Tunnel,
    {
        loop {
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(self.poll_send(tunnel, moved, cx))?;
                    ready!(tunnel.poll_finish(cx))?;
                    self.state = State::Done;
                }
                State::Moving => {
                    ready!(self.poll_send(tunnel, moved, cx))?;
                    if self.poll_fill(local, cx)?.is_pending() && self.buf.is_empty() {
                        self.buf = BytesMut::new();
                        // What was sent last may still wait in an unframed tunnel; its waker is set here.
                        let _ = tunnel.poll_flush(cx)?;
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// After an error of the local socket: what it had received before goes out. Ready when that is past recall.
    pub(super) fn poll_last<L, T>(
        &mut self,
        local: &mut L,
        tunnel: &mut T,
        moved: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<()>
    where
        L: AsyncRead + Unpin,
        T: Tunnel,
    {
        loop {
            if ready!(self.poll_send(tunnel, moved, cx)).is_err() {
                return Poll::Ready(());
            }
            let more = self.poll_fill(local, cx);
            if self.buf.is_empty() {
                // An end or an error comes for certain, but where a write met the error it may not have been seen here yet.
                ready!(more.map(drop));
                return tunnel.poll_sent(cx);
            }
        }
    }

    /// Reads until the socket is empty or the buffer full. Pending: nothing more for now.
    fn poll_fill<L: AsyncRead + Unpin>(
        &mut self,
        local: &mut L,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>> {
        self.buf.reserve(self.size);
        let mut got = 0;
        let end = loop {
            if got >= self.size {
                break Poll::Ready(Ok(()));
            }
            match poll_read_into(local, cx, &mut self.buf) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    self.state = State::Ending;
                    break Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(n)) => got += n,
                Poll::Ready(Err(e)) => break Poll::Ready(Err(e.into())),
            }
        };
        if got > 0 {
            self.size = next_size(self.size, got);
        }
        end
    }

    fn poll_send<T: Tunnel>(
        &mut self,
        tunnel: &mut T,
        moved: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CopyError>> {
        while !self.buf.is_empty() {
            let n = ready!(tunnel.poll_capacity(cx, self.buf.len()))?;
            tunnel.send(self.buf.split_to(n).freeze())?;
            moved.fetch_add(n as u64, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}
