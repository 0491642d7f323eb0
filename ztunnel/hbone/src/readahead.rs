//! A read buffer beneath TLS. rustls asks its transport for about 4 KiB at a time; one system call for many records is cheaper.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::wrapper::pass_writes_on;

/// Bytes fetched by one read. Held only while it has unread bytes.
const CHUNK: usize = 128 << 10;
/// The first read of a quiet connection is smaller: most records of request traffic fit.
const SMALL: usize = 16 << 10;

/// Passes writes on; serves reads from a buffer that it fills with large reads.
pub struct ReadAhead<I> {
    io: I,
    buf: BytesMut,
    want: usize,
}

impl<I> ReadAhead<I> {
    /// Wraps `io`.
    pub fn new(io: I) -> Self {
        Self {
            io,
            buf: BytesMut::new(),
            want: SMALL,
        }
    }

    /// The wrapped stream.
    pub fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead + Unpin> ReadAhead<I> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buf.clear();
        self.buf.reserve(self.want);
        match poll_read_into(&mut self.io, cx, &mut self.buf) {
            Poll::Pending => {
                self.buf = BytesMut::new();
                Poll::Pending
            }
            Poll::Ready(read) => {
                let n = read?;
                self.want = if n >= self.want {
                    CHUNK
                } else if n < SMALL {
                    SMALL
                } else {
                    self.want
                };
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Reads once into the spare capacity of `buf`; 0 means the end, or no spare capacity.
pub(crate) fn poll_read_into<I: AsyncRead + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    buf: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    // The future holds nothing but the two borrows, so a new one a poll loses nothing.
    pin!(io.read_buf(buf)).poll(cx)
}

impl<I: AsyncRead + Unpin> AsyncRead for ReadAhead<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buf.is_empty() {
            ready!(this.poll_fill(cx))?;
        }
        let n = out.remaining().min(this.buf.len());
        out.put_slice(&this.buf[..n]);
        this.buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

pass_writes_on!(ReadAhead);
