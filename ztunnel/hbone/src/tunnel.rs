//! The small surface that the copy loop needs from a framing, and its two implementations: an HTTP/2 stream and a plain byte stream.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::TunnelError;
use crate::readahead::poll_read_into;

mod h2;

pub use self::h2::H2Tunnel;
pub(crate) use self::h2::Place;

/// One byte stream to a peer with independent ends for both directions.
pub trait Tunnel: Send {
    /// The next bytes from the peer; `None` is the peer's clean end of its direction, after which it is not called again.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TunnelError>>>;
    /// Tells that `n` received bytes were passed on, so that the peer may send as many more.
    fn release(&mut self, n: usize);
    /// Whether received bytes collect here up to a window of our own while nobody takes them.
    fn has_window(&self) -> bool {
        true
    }
    /// Waits until at least one of `wanted` bytes may be sent, and says how many.
    fn poll_capacity(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Result<usize, TunnelError>>;
    /// Sends; never more than [`Tunnel::poll_capacity`] gave.
    fn send(&mut self, data: Bytes) -> Result<(), TunnelError>;
    /// Makes progress with what was sent. Ready when nothing waits here.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>>;
    /// Ready when what was sent is past recall, so that a reset does not take it back, or when it never will be.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Ends our direction cleanly, once what was sent is out.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>>;
    /// Completes when the peer broke the stream off; asked only after the peer's direction has ended.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<TunnelError>;
    /// Breaks the stream off.
    fn reset(&mut self);
}

/// A byte stream without framing: plain TCP.
pub struct IoTunnel<I> {
    io: I,
    out: Bytes,
    hint: usize,
}

const FIRST_READ: usize = 16 << 10;
const LARGEST_READ: usize = 256 << 10;

impl<I> IoTunnel<I> {
    /// Wraps a stream.
    pub fn new(io: I) -> Self {
        Self {
            io,
            out: Bytes::new(),
            hint: FIRST_READ,
        }
    }

    /// The wrapped stream.
    pub fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send> Tunnel for IoTunnel<I> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TunnelError>>> {
        let mut buf = BytesMut::with_capacity(self.hint);
        match ready!(poll_read_into(&mut self.io, cx, &mut buf)) {
            Ok(0) => Poll::Ready(None),
            Ok(n) => {
                self.hint = next_size(self.hint, n);
                Poll::Ready(Some(Ok(buf.freeze())))
            }
            Err(e) => Poll::Ready(Some(Err(TunnelError::Io(e.to_string())))),
        }
    }

    fn release(&mut self, _: usize) {}

    fn has_window(&self) -> bool {
        false
    }

    fn poll_capacity(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Result<usize, TunnelError>> {
        ready!(self.poll_flush(cx))?;
        Poll::Ready(Ok(wanted))
    }

    fn send(&mut self, data: Bytes) -> Result<(), TunnelError> {
        debug_assert!(self.out.is_empty(), "send without capacity");
        self.out = data;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        while !self.out.is_empty() {
            let n = ready!(std::pin::Pin::new(&mut self.io).poll_write(cx, &self.out))
                .map_err(|e| TunnelError::Io(e.to_string()))?;
            if n == 0 {
                return Poll::Ready(Err(TunnelError::Io("nothing could be written".into())));
            }
            self.out.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_flush(cx).map(drop)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        ready!(self.poll_flush(cx))?;
        std::pin::Pin::new(&mut self.io)
            .poll_shutdown(cx)
            .map_err(|e| TunnelError::Io(e.to_string()))
    }

    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<TunnelError> {
        Poll::Pending
    }

    fn reset(&mut self) {
        self.out = Bytes::new();
    }
}

/// The size of the next read: four times as much after a read that was filled, a quarter after one that used less than that.
pub(crate) fn next_size(size: usize, got: usize) -> usize {
    if got >= size {
        (size * 4).min(LARGEST_READ)
    } else if got < size / 4 {
        (size / 4).max(FIRST_READ)
    } else {
        size
    }
}
