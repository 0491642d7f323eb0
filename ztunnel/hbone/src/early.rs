//! The application's first bytes, which may travel with the request instead of waiting a round trip for its answer.

use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, Empty, ReadBuf};

use crate::readahead::poll_read_into;
use crate::wrapper::pass_writes_on;

/// Most bytes that go with a request. They are kept until it was answered, for another try.
const MOST: usize = 16 << 10;

/// A local socket whose first bytes can be looked at. Reading it gives them too, unless they were sent.
pub struct Early<S> {
    io: S,
    first: Bytes,
    sent: bool,
}

impl Early<Empty> {
    /// No socket: nothing goes with the request.
    pub fn none() -> Self {
        Self::new(tokio::io::empty())
    }
}

impl<S> Early<S> {
    /// Wraps a socket of which nothing was read.
    pub fn new(io: S) -> Self {
        Self {
            io,
            first: Bytes::new(),
            sent: false,
        }
    }

    /// The socket.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// Bytes that went with the request, and will not be read again.
    pub fn sent(&self) -> usize {
        if self.sent { self.first.len() } else { 0 }
    }

    pub(crate) fn mark_sent(&mut self, sent: bool) {
        self.sent = sent;
    }
}

impl<S: AsFd> AsFd for Early<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<S: AsyncRead + Unpin> Early<S> {
    /// The first bytes, once there are some. An end or a failure is left to the reader.
    pub(crate) async fn first(&mut self) -> Bytes {
        if self.first.is_empty() {
            let mut buf = BytesMut::with_capacity(MOST);
            match poll_fn(|cx| poll_read_into(&mut self.io, cx, &mut buf)).await {
                Ok(n) if n > 0 => self.first = buf.freeze(),
                _ => pending().await,
            }
        }
        self.first.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Early<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sent {
            this.first = Bytes::new();
        }
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, out);
        }
        let n = out.remaining().min(this.first.len());
        out.put_slice(&this.first[..n]);
        this.first.advance(n);
        Poll::Ready(Ok(()))
    }
}

pass_writes_on!(Early);
